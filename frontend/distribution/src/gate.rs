//! Who may do what. With passwords alone clients are asked for one by `Basic`. Where anybody may read, they are sent for a
//! token instead, as their first question is the same for readers and writers and most of them ask for credentials only then.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tare_http::{Reply, Request, StatusCode};
use tokio::sync::Semaphore;

use crate::{Error, Passwords, Result};

/// How long a token is good.
const LIFE: Duration = Duration::from_secs(300);
/// How long a password that fitted is not computed again: it costs more than everything else in a request.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Tokens of those who may write, and passwords that fitted. Of more the oldest tokens, and all passwords, are forgotten, which
/// costs clients a question.
const MOST: usize = 10_000;
/// Passwords that are computed at a time: guessing does not take all of the machine.
const AT_A_TIME: usize = 2;
/// Passwords that wait for their turn, some seconds at most. Who comes then comes again later.
const WAITING: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The question that clients begin with.
    Ping,
    Read,
    Write,
}

/// Who may read and write.
#[derive(Debug)]
pub struct Gate {
    passwords: Option<Passwords>,
    anybody_reads: bool,
    /// Of those who may write, and when they end.
    tokens: Mutex<HashMap<String, Instant>>,
    /// The one that everybody gets who may read only: it opens nothing that is closed, and nobody can have many made.
    readers: OnceLock<String>,
    /// By the digest of name, password and stored hash.
    fitted: Mutex<HashMap<Vec<u8>, Instant>>,
    computing: Semaphore,
    waiting: Semaphore,
}

impl Gate {
    /// Everybody may do everything.
    pub fn open() -> Self {
        Self::new(None, false)
    }

    /// Those of the file may do everything; others may read where `anybody_reads`.
    pub fn with(passwords: Passwords, anybody_reads: bool) -> Self {
        Self::new(Some(passwords), anybody_reads)
    }

    fn new(passwords: Option<Passwords>, anybody_reads: bool) -> Self {
        let (computing, waiting) = (Semaphore::new(AT_A_TIME), Semaphore::new(AT_A_TIME + WAITING));
        let (tokens, readers, fitted) = (Mutex::default(), OnceLock::new(), Mutex::default());
        Self { passwords, anybody_reads, tokens, readers, fitted, computing, waiting }
    }

    /// Lets a request pass, or says what it lacks.
    pub(crate) async fn pass(&self, request: &Request, access: Access, tls: bool) -> Result<()> {
        if self.passwords.is_none() {
            return Ok(());
        }
        let allowed = match authorization(request) {
            Shown::Password(user, password) => self.fits(&user, &password).await?,
            Shown::Token(token) => self.granted(&token, access),
            Shown::Nothing => self.anybody_reads && access == Access::Read,
        };
        if allowed { Ok(()) } else { Err(Error::Unauthorized(self.challenge(request, access, tls))) }
    }

    /// `GET /token`: what a client may do, for a while.
    pub(crate) async fn token(&self, request: &Request) -> Result<Reply> {
        let token = match authorization(request) {
            Shown::Password(user, password) if self.fits(&user, &password).await? => {
                let token = random()?;
                self.grant(token.clone());
                token
            }
            Shown::Nothing | Shown::Token(_) if self.anybody_reads => {
                let fresh = random()?;
                self.readers.get_or_init(|| fresh).clone()
            }
            _ => return Err(Error::Unauthorized("Basic realm=\"tare\"".to_owned())),
        };
        let answer = json!({"token": token, "access_token": token, "expires_in": LIFE.as_secs()});
        Ok(Reply::json(StatusCode::OK, &answer))
    }

    /// Remembers the token of somebody who may write.
    fn grant(&self, token: String) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST {
            let oldest = tokens.iter().min_by_key(|(_, ends)| **ends).map(|(token, _)| token.clone());
            oldest.and_then(|oldest| tokens.remove(&oldest));
        }
        tokens.insert(token, Instant::now() + LIFE);
    }

    fn granted(&self, token: &str, access: Access) -> bool {
        if access != Access::Write && self.readers.get().is_some_and(|readers| readers == token) {
            return true;
        }
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).is_some_and(|ends| *ends > Instant::now())
    }

    async fn fits(&self, user: &str, password: &str) -> Result<bool> {
        let Some(passwords) = &self.passwords else { return Ok(true) };
        let stored = passwords.hash(user).unwrap_or_default();
        let key = digest(&SHA256, format!("{}:{user}{password}\0{stored}", user.len()).as_bytes());
        let known = |fitted: &HashMap<Vec<u8>, Instant>| {
            fitted.get(key.as_ref()).is_some_and(|at| at.elapsed() < REMEMBERED)
        };
        if known(&self.fitted.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(true);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Error::Busy)?;
        let _turn = self.computing.acquire().await.map_err(|e| Error::Internal(e.to_string()))?;
        // It computes for a tenth of a second, in a thread that others do not wait for.
        let fits = tokio::task::block_in_place(|| passwords.fit(user, password));
        if fits {
            let mut fitted = self.fitted.lock().unwrap_or_else(PoisonError::into_inner);
            if fitted.len() >= MOST {
                fitted.clear();
            }
            fitted.insert(key.as_ref().to_vec(), Instant::now());
        }
        Ok(fits)
    }

    fn challenge(&self, request: &Request, access: Access, tls: bool) -> String {
        if !self.anybody_reads {
            return "Basic realm=\"tare\"".to_owned();
        }
        let scheme = if tls { "https" } else { "http" };
        let host = request.header("host").unwrap_or_default();
        // It stands between quotation marks.
        let host: String =
            host.chars().filter(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(*c)).collect();
        let mut challenge = format!("Bearer realm=\"{scheme}://{host}/token\",service=\"tare\"");
        let name = request.parameter("name");
        if let Ok(name) = name.parse::<tare_depot::Name>() {
            let what = if access == Access::Write { "pull,push" } else { "pull" };
            challenge.push_str(&format!(",scope=\"repository:{name}:{what}\""));
        }
        challenge
    }
}

fn random() -> Result<String> {
    let mut random = [0; 32];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::Internal(format!("no random bytes: {errno}")))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}

enum Shown {
    Nothing,
    Password(String, String),
    Token(String),
}

fn authorization(request: &Request) -> Shown {
    let Some((scheme, text)) = request.header("authorization").and_then(|text| text.split_once(' ')) else {
        return Shown::Nothing;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Shown::Token(text.trim().to_owned());
    }
    let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        // Some clients write an empty name where they have none.
        Some(("", "")) => Shown::Nothing,
        Some((user, password)) => Shown::Password(user.to_owned(), password.to_owned()),
        None => Shown::Password(String::new(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use tare_http::Method;

    use super::*;

    fn passwords() -> Passwords {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("ada:{}\n", bcrypt::hash("s3cret", 10).unwrap())).unwrap();
        Passwords::open(file.path()).unwrap()
    }

    fn asks(password: Option<&str>) -> Request {
        let mut request = Request::test(Method::GET, "/token").unwrap();
        if let Some(password) = password {
            let shown = format!("Basic {}", STANDARD.encode(format!("ada:{password}")));
            request.headers.insert("authorization", shown.parse().unwrap());
        }
        request
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_no_password_logs_nobody_out() {
        let gate = Gate::with(passwords(), true);
        gate.token(&asks(Some("s3cret"))).await.unwrap();
        let first = gate.tokens.lock().unwrap().keys().next().unwrap().clone();
        for _ in 0..MOST + 1 {
            gate.token(&asks(None)).await.unwrap();
        }
        assert!(gate.granted(&first, Access::Write));
        assert_eq!(gate.tokens.lock().unwrap().len(), 1, "strangers have one token among them");
        let readers = gate.readers.get().unwrap();
        assert!(gate.granted(readers, Access::Ping) && gate.granted(readers, Access::Read));
        assert!(!gate.granted(readers, Access::Write));
        // Of those who have one, the oldest has to ask again.
        (1..=MOST).for_each(|number| gate.grant(number.to_string()));
        assert!(!gate.granted(&first, Access::Write) && gate.granted("1", Access::Write));
        assert_eq!(gate.tokens.lock().unwrap().len(), MOST);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn guessing_does_not_queue_up_without_end() {
        let gate = std::sync::Arc::new(Gate::with(passwords(), false));
        let all = gate.computing.acquire_many(AT_A_TIME as u32).await.unwrap();
        let mut guesses = tokio::task::JoinSet::new();
        for number in 0..AT_A_TIME + WAITING {
            let gate = std::sync::Arc::clone(&gate);
            guesses.spawn(async move { gate.fits("ada", &number.to_string()).await.is_ok() });
        }
        while gate.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(gate.fits("ada", "one more").await, Err(Error::Busy)));
        guesses.shutdown().await;
        drop(all);
        assert!(gate.fits("ada", "s3cret").await.unwrap(), "and it goes on");
    }
}
