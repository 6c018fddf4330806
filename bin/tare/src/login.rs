//! `login` and `logout`.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use tare_docker_api::AuthConfig;

use crate::call::Call;
use crate::credentials::{HUB, Store, key_of};
use crate::failure::{Failure, Result};
use crate::flags::{Flag, switch, text};
use crate::output::{line, say};
use crate::session::hidden_line;

pub(crate) const LOGIN: &[Flag] = &[
    text("password", "string", "Password or Personal Access Token (PAT)").short('p'),
    switch("password-stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
    text("username", "string", "Username").short('u'),
];

/// `tare login`
pub(crate) async fn login(call: Call) -> Result<u8> {
    let given = &call.given;
    let mut store = Store::open(call.config.as_deref())?;
    let key = given.operands.first().map_or(HUB.to_owned(), |server| key_of(server));
    let kept = if given.has("username") || given.has("password") { None } else { store.get(&key)? };
    if let Some(kept) = kept {
        say("Authenticating with existing credentials...");
        match call.client.check_login(&kept).await {
            Ok(answer) => return line(or_succeeded(&answer.status)).map(|()| 0),
            Err(error) => say(format!("Login did not succeed, error: {error}")),
        }
    }
    let mut credentials = ask(&call, &key).await?;
    let answer = call.client.check_login(&credentials).await?;
    if !answer.identity_token.is_empty() {
        credentials.password.clear();
        credentials.identity_token = answer.identity_token;
    }
    store.put(&key, &credentials)?;
    if store.helper(&key).is_none() {
        say(format!(
            "WARNING: the password is stored unencrypted in {}; a credential helper keeps it better",
            store.path().display()
        ));
    }
    line(or_succeeded(&answer.status))?;
    Ok(0)
}

fn or_succeeded(status: &str) -> &str {
    if status.is_empty() { "Login Succeeded" } else { status }
}

/// Name and password, from flags, standard input or the person.
async fn ask(call: &Call, key: &str) -> Result<AuthConfig> {
    let given = &call.given;
    let no_terminal = || {
        Failure::new("cannot perform an interactive login from a non TTY device")
            .hint("use --username and --password-stdin")
    };
    let username = match given.text("username") {
        Some(name) => name.to_owned(),
        None if given.on("password-stdin") => {
            return Err(Failure::new("must provide --username with --password-stdin"));
        }
        None if io::stdin().is_terminal() => prompt("Username: ")?,
        None => return Err(no_terminal()),
    };
    let password = if given.on("password-stdin") {
        if given.has("password") {
            return Err(Failure::new("--password and --password-stdin are mutually exclusive"));
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        text.trim_end_matches(['\n', '\r']).to_owned()
    } else if let Some(password) = given.text("password") {
        say("WARNING: --password shows the password to everybody on this machine; use --password-stdin");
        password.to_owned()
    } else if io::stdin().is_terminal() {
        hidden_prompt("Password: ").await?
    } else {
        return Err(no_terminal());
    };
    match username.is_empty() || password.is_empty() {
        true => Err(Failure::new("username and password are both required")),
        false => {
            Ok(AuthConfig { username, password, server_address: key.to_owned(), ..AuthConfig::default() })
        }
    }
}

fn prompt(question: &str) -> Result<String> {
    let mut out = io::stderr().lock();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

async fn hidden_prompt(question: &str) -> Result<String> {
    let mut out = io::stderr();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let answer = hidden_line().await;
    say("");
    answer
}

/// `tare logout`
pub(crate) async fn logout(call: Call) -> Result<u8> {
    let server = call.given.operands.first().map_or(HUB, String::as_str);
    let mut store = Store::open(call.config.as_deref())?;
    match store.remove(&key_of(server))? {
        true => line(format!("Removing login credentials for {}", key_of(server)))?,
        false => line(format!("Not logged in to {}", key_of(server)))?,
    }
    Ok(0)
}
