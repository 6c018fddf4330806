//! Who may do what. With passwords alone clients are asked for one by `Basic`. Where anybody may read, they are sent for a
//! token instead, as their first question is the same for readers and writers and most of them ask for credentials only then.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
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
/// Tokens, and passwords that fitted. All are forgotten when there are more, which costs clients a question.
const MOST: usize = 10_000;
/// Passwords that are computed at a time: guessing does not take all of the machine.
const AT_A_TIME: usize = 2;

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
    tokens: Mutex<HashMap<String, Grant>>,
    /// By the digest of name, password and stored hash.
    fitted: Mutex<HashMap<Vec<u8>, Instant>>,
    computing: Semaphore,
}

#[derive(Debug)]
struct Grant {
    writes: bool,
    ends: Instant,
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
        let computing = Semaphore::new(AT_A_TIME);
        Self { passwords, anybody_reads, tokens: Mutex::default(), fitted: Mutex::default(), computing }
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
        let writes = match authorization(request) {
            Shown::Password(user, password) => match self.fits(&user, &password).await? {
                true => true,
                false => return Err(Error::Unauthorized("Basic realm=\"tare\"".to_owned())),
            },
            _ if self.anybody_reads => false,
            _ => return Err(Error::Unauthorized("Basic realm=\"tare\"".to_owned())),
        };
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::Internal(format!("no random bytes: {errno}")))?;
        let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tokens.retain(|_, grant| grant.ends > now);
        if tokens.len() >= MOST {
            tokens.clear();
        }
        tokens.insert(token.clone(), Grant { writes, ends: now + LIFE });
        let answer = json!({"token": token, "access_token": token, "expires_in": LIFE.as_secs()});
        Ok(Reply::json(StatusCode::OK, &answer))
    }

    fn granted(&self, token: &str, access: Access) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = tokens.get(token).filter(|grant| grant.ends > Instant::now());
        grant.is_some_and(|grant| grant.writes || access != Access::Write)
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
