use tare_model::{HasKind, Kind};
use tare_oci::image::media_type;
use tare_registry::{Credentials, Error};

use crate::fake::{Answer, Fake};
use crate::{ADA, ada, reference, registry};

const PATH: &str = "/v2/web/manifests/v1";

fn manifest() -> Answer {
    Answer::new(200, r#"{"schemaVersion":2}"#).header("Content-Type", media_type::OCI_MANIFEST)
}

fn challenge(realm: &str) -> Answer {
    let header = format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:other/secret:pull\"");
    Answer::refusal(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", header)
}

#[tokio::test]
async fn basic_authentication_is_answered_when_asked_for_and_remembered() {
    let fake = Fake::start().await;
    fake.once(PATH, Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"reg\""));
    fake.always(PATH, manifest());
    let registry = registry();
    for _ in 0..2 {
        registry.manifest(&reference(&fake, "web:v1"), Some(&ada())).await.unwrap();
    }
    let sent: Vec<_> = fake.asked().iter().map(|asked| asked.headers.get("authorization").cloned()).collect();
    assert_eq!(sent, [None, Some(ADA.to_owned()), Some(ADA.to_owned())]);
}

#[tokio::test]
async fn a_token_is_fetched_with_the_password_and_used_until_it_expires() {
    let fake = Fake::start().await;
    fake.once(PATH, challenge(&fake.url("/token")));
    fake.always("/token", Answer::new(200, r#"{"token":"abc","expires_in":300}"#));
    fake.always(PATH, manifest());
    let registry = registry();
    for _ in 0..2 {
        registry.manifest(&reference(&fake, "web:v1"), Some(&ada())).await.unwrap();
    }
    assert_eq!((fake.count("/token"), fake.count(PATH)), (1, 3));
    let asked = fake.asked();
    assert_eq!(asked[1].headers["authorization"], ADA);
    // The scope is ours, not the one that the registry would like a token for.
    assert_eq!(asked[1].path, "/token?service=reg&scope=repository%3Aweb%3Apull&account=ada");
    assert_eq!(
        (&*asked[2].headers["authorization"], &*asked[3].headers["authorization"]),
        ("Bearer abc", "Bearer abc")
    );
}

#[tokio::test]
async fn a_token_is_fetched_for_nobody_in_particular_too() {
    let fake = Fake::start().await;
    fake.once(PATH, challenge(&fake.url("/token")));
    fake.always("/token", Answer::new(200, r#"{"access_token":"abc"}"#));
    fake.always(PATH, manifest());
    registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap();
    assert!(!fake.asked()[1].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_identity_token_is_traded_for_an_access_token() {
    let fake = Fake::start().await;
    fake.once(PATH, challenge(&fake.url("/token")));
    fake.always("/token", Answer::new(200, r#"{"access_token":"abc"}"#));
    fake.always(PATH, manifest());
    let login = Credentials { identity_token: "refresh me".into(), ..ada() };
    registry().manifest(&reference(&fake, "web:v1"), Some(&login)).await.unwrap();
    let asked = &fake.asked()[1];
    assert_eq!((&*asked.method, asked.headers.get("authorization")), ("POST", None));
    let form = "grant_type=refresh_token&service=reg&scope=repository%3Aweb%3Apull&client_id=tare&refresh_token=refresh+me";
    assert_eq!(asked.body, form);
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let fake = Fake::start().await;
    fake.always(PATH, manifest());
    let login = Credentials { registry_token: "mine".into(), ..ada() };
    registry().manifest(&reference(&fake, "web:v1"), Some(&login)).await.unwrap();
    assert_eq!(fake.asked()[0].headers["authorization"], "Bearer mine");
}

/// A registry may not have us ask for rights at another one that happens to know the same password.
#[tokio::test]
async fn an_address_of_a_token_server_asks_for_no_rights_of_its_own() {
    let fake = Fake::start().await;
    fake.once(PATH, challenge(&fake.url("/token?tenant=a%26b&scope=repository%3Aother%2Fsecret%3Apull")));
    fake.always("/token", Answer::new(200, r#"{"token":"abc"}"#));
    fake.always(PATH, manifest());
    registry().manifest(&reference(&fake, "web:v1"), Some(&ada())).await.unwrap();
    let expected = "/token?tenant=a%26b&service=reg&scope=repository%3Aweb%3Apull&account=ada";
    assert_eq!(fake.asked()[1].path, expected);
}

#[tokio::test]
async fn a_token_server_that_must_not_be_trusted_gets_no_password() {
    let fake = Fake::start().await;
    for realm in [
        "http://tokens.example/token",
        "ftp://127.0.0.1/",
        "http://u:p@127.0.0.1/token",
        "nonsense",
        "http://",
    ] {
        fake.always(PATH, challenge(realm));
        let error = registry().manifest(&reference(&fake, "web:v1"), Some(&ada())).await.unwrap_err();
        assert!(matches!(error, Error::Realm { .. }), "{realm}: {error}");
    }
}

#[tokio::test]
async fn a_token_server_that_redirects_does_not_pass_the_password_on() {
    let (fake, other) = (Fake::start().await, Fake::start().await);
    fake.once(PATH, challenge(&fake.url("/token")));
    fake.always("/token", Answer::new(307, "").header("Location", other.url("/token")));
    other.always("/token", Answer::new(200, r#"{"token":"abc"}"#));
    fake.always(PATH, manifest());
    registry().manifest(&reference(&fake, "web:v1"), Some(&ada())).await.unwrap();
    assert!(!other.asked()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such_and_tried_once() {
    let fake = Fake::start().await;
    fake.always(
        PATH,
        Answer::refusal(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", "Basic"),
    );
    let error = registry().manifest(&reference(&fake, "web:v1"), Some(&ada())).await.unwrap_err();
    assert_eq!((error.kind(), fake.count(PATH)), (Kind::Unauthorized, 2));

    fake.always(PATH, challenge(&fake.url("/token")));
    fake.always("/token", Answer::new(401, ""));
    let error = registry().manifest(&reference(&fake, "web:v1"), Some(&ada())).await.unwrap_err();
    assert_eq!(error, Error::Unauthorized("incorrect username or password".into()));
}

#[tokio::test]
async fn nobody_is_told_that_a_password_is_wanted() {
    let fake = Fake::start().await;
    fake.always(
        PATH,
        Answer::refusal(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", "Basic"),
    );
    let error = registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap_err();
    // Not Kind::Unauthorized: docker's client would ask for a password and wait for an answer, in scripts for ever.
    assert_eq!((error.kind(), &*error.to_string()), (Kind::Forbidden, "no basic auth credentials"));
}

#[tokio::test]
async fn a_token_without_the_right_to_pull_is_dockers_access_denied() {
    let fake = Fake::start().await;
    let refused = format!("Bearer realm=\"{}\",error=\"insufficient_scope\"", fake.url("/token"));
    fake.always(PATH, Answer::new(401, "").header("WWW-Authenticate", refused));
    fake.always("/token", Answer::new(200, r#"{"token":"abc"}"#));
    let error = registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap_err();
    let words = format!(
        "pull access denied for {}/web, repository does not exist or may require 'docker login'",
        fake.address
    );
    assert!(error.to_string().starts_with(&words), "{error}");
}

#[tokio::test]
async fn a_login_is_checked_and_brings_an_identity_token() {
    let fake = Fake::start().await;
    let server = fake.address.to_string();
    fake.once("/v2/", challenge(&fake.url("/token")));
    fake.always("/token", Answer::new(200, r#"{"token":"abc","refresh_token":"keep"}"#));
    fake.always("/v2/", Answer::new(200, "{}"));
    let result = registry().check_login(&server, &ada()).await.unwrap();
    assert_eq!((&*result.status, &*result.identity_token), ("Login Succeeded", "keep"));
    assert!(
        fake.asked()[1].path.ends_with("account=ada&offline_token=true&client_id=tare"),
        "{:?}",
        fake.asked()
    );

    fake.always("/v2/", Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"reg\""));
    let error = registry().check_login(&format!("http://{server}"), &ada()).await.unwrap_err();
    assert_eq!(error, Error::Unauthorized("incorrect username or password".into()));
}
