//! Which host is asked, and how: mirrors, proxies, other settings, lists and searches.

use std::collections::BTreeMap;

use tare_model::{HasKind, Kind};
use tare_oci::image::media_type;
use tare_registry::{Config, Error, HostConfig, Named, Proxies};

use crate::fake::{Answer, Fake};
use crate::{ADA, ada, reference, registry, registry_with, sha256};

const MANIFEST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}"#;

fn manifest() -> Answer {
    Answer::new(200, MANIFEST).header("Content-Type", media_type::OCI_MANIFEST)
}

fn mirrored(of: &Fake, mirrors: &[&Fake]) -> Config {
    let host = HostConfig { mirrors: mirrors.iter().map(|fake| fake.url("")).collect(), insecure: false };
    Config { registries: BTreeMap::from([(of.address.to_string(), host)]), ..Config::default() }
}

#[tokio::test]
async fn mirrors_of_any_registry_are_asked_first_and_never_get_its_credentials() {
    let (broken, mirror, own) = (Fake::start().await, Fake::start().await, Fake::start().await);
    broken.always("/v2/web/manifests/v1", Answer::new(404, ""));
    mirror.always("/v2/web/manifests/v1", manifest());
    own.always("/v2/web/manifests/v1", manifest());
    let registry = registry_with(mirrored(&own, &[&broken, &mirror]));
    registry.manifest(&reference(&own, "web:v1"), Some(&ada())).await.unwrap();
    assert_eq!((broken.asked().len(), mirror.asked().len(), own.asked().len()), (1, 1, 0));
    assert!(mirror.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
}

#[tokio::test]
async fn a_mirror_that_asks_for_a_login_is_passed_by() {
    let (mirror, own) = (Fake::start().await, Fake::start().await);
    let ask = Answer::refusal(401, "UNAUTHORIZED", "who?").header("WWW-Authenticate", "Basic realm=\"m\"");
    mirror.always("/v2/web/manifests/v1", ask.clone());
    own.once("/v2/web/manifests/v1", ask);
    own.always("/v2/web/manifests/v1", manifest());
    let registry = registry_with(mirrored(&own, &[&mirror]));
    registry.manifest(&reference(&own, "web:v1"), Some(&ada())).await.unwrap();
    assert!(mirror.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    assert_eq!(own.asked().last().unwrap().headers["authorization"], ADA);
}

#[tokio::test]
async fn a_push_goes_to_the_registry_and_not_to_its_mirror() {
    let (mirror, own) = (Fake::start().await, Fake::start().await);
    own.always("/v2/web/manifests/v1", Answer::new(201, ""));
    let registry = registry_with(mirrored(&own, &[&mirror]));
    let to = reference(&own, "web:v1");
    registry.put_manifest(&to, media_type::OCI_MANIFEST, MANIFEST.into(), None).await.unwrap();
    assert!(mirror.asked().is_empty());
}

#[tokio::test]
async fn other_settings_count_from_the_next_question_on() {
    let (mirror, own) = (Fake::start().await, Fake::start().await);
    mirror.always("/v2/web/manifests/v1", manifest());
    own.always("/v2/web/manifests/v1", manifest());
    let registry = registry();
    registry.manifest(&reference(&own, "web:v1"), None).await.unwrap();
    registry.reload(mirrored(&own, &[&mirror])).unwrap();
    registry.manifest(&reference(&own, "web:v1"), None).await.unwrap();
    assert_eq!((mirror.asked().len(), own.asked().len()), (1, 1));
    let bad = Config { mirrors: vec!["ftp://x".into()], ..Config::default() };
    assert!(matches!(registry.reload(bad), Err(Error::Config(_))));
    registry.manifest(&reference(&own, "web:v1"), None).await.unwrap();
    assert_eq!(mirror.asked().len(), 2, "what cannot be meant changes nothing");
}

#[tokio::test]
async fn hosts_elsewhere_are_reached_through_the_proxy_unless_they_are_excepted() {
    let proxy = Fake::start().await;
    proxy.always("http://registry.example/v2/web/manifests/v1", manifest());
    let with = |none: &str| {
        let url = proxy.url("");
        let proxies = Proxies { http: url.clone(), https: url, none: none.to_owned() };
        registry_with(Config {
            insecure: vec!["registry.example".into()],
            proxies: Some(proxies),
            ..Config::default()
        })
    };
    let name = "registry.example/web:v1".parse().unwrap();
    with("").manifest(&name, None).await.unwrap();
    let asked = proxy.asked();
    // TLS is tried first, through the same proxy.
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("CONNECT", "registry.example:443"));
    assert_eq!(asked[1].path, "http://registry.example/v2/web/manifests/v1");
    let before = proxy.asked().len();
    assert!(with("*.other,registry.example").manifest(&name, None).await.is_err());
    assert_eq!(proxy.asked().len(), before);
}

#[tokio::test]
async fn tags_are_listed_page_by_page() {
    let fake = Fake::start().await;
    let page = |tags: &str| Answer::new(200, format!(r#"{{"name":"web","tags":{tags}}}"#));
    let link = r#"<http://elsewhere.example/v2/other?last=b&n=2>; rel="next""#;
    fake.once("/v2/web/tags/list", page(r#"["a","b"]"#).header("Link", link));
    fake.once("/v2/web/tags/list", page(r#"["c"]"#));
    assert_eq!(registry().tags(&reference(&fake, "web"), None).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(fake.asked()[1].path, "/v2/web/tags/list?last=b&n=2");
    fake.once("/v2/web/tags/list", page("null"));
    assert!(registry().tags(&reference(&fake, "web"), None).await.unwrap().is_empty());
    let none = registry().tags(&reference(&fake, "none"), None).await.unwrap_err();
    assert_eq!(none.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_list_without_end_is_an_error() {
    let fake = Fake::start().await;
    let page = Answer::new(200, r#"{"tags":["a"]}"#).header("Link", "</v2/web/tags/list?last=a>; rel=next");
    fake.always("/v2/web/tags/list", page);
    let error = registry().tags(&reference(&fake, "web"), None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    // Small pages by their bytes, whatever number was asked for.
    let names = format!(r#"{{"tags":[{}"b"]}}"#, r#""a","#.repeat(60_000));
    let page = Answer::new(200, names).header("Link", "</v2/many/tags/list?last=a>; rel=next");
    fake.always("/v2/many/tags/list", page);
    let error = registry().tags(&reference(&fake, "many"), None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }) && fake.count("/v2/many/tags/list") == 2, "{error}");
    fake.always("/v2/big/tags/list", Answer::new(200, vec![b' '; 5 << 20]));
    let error = registry().tags(&reference(&fake, "big"), None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn referrers_are_listed_page_by_page_and_not_for_ever() {
    let (fake, elsewhere, subject) = (Fake::start().await, Fake::start().await, sha256(b"subject"));
    let path = format!("/v2/web/referrers/{subject}");
    let page = |first: u32, count: u32| {
        let entry = |n: u32| format!(r#"{{"digest":"{}","artifactType":"a/{n}"}}"#, sha256(&n.to_le_bytes()));
        let entries: Vec<_> = (first..first + count).map(entry).collect();
        Answer::new(200, format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(",")))
    };
    let link = |path: &str| format!("<{}?after=2>; rel=\"next\"", elsewhere.url(path));
    let ask = async || registry().referrers(&reference(&fake, "web"), &subject, Some(&ada())).await;
    fake.once(&path, page(0, 2).header("Link", link(&path)));
    fake.once(&path, page(2, 1));
    let found = ask().await.unwrap();
    let kinds: Vec<_> = found.iter().map(|one| one.artifact_type.clone().unwrap()).collect();
    assert_eq!(kinds, ["a/0", "a/1", "a/2"]);
    assert_eq!(fake.asked()[1].path, format!("{path}?after=2"));
    assert!(elsewhere.asked().is_empty(), "where it goes on is not for the registry to say");
    // Half a list is no list.
    fake.once(&path, page(0, 2).header("Link", link(&path)));
    fake.once(&path, Answer::new(404, ""));
    assert_eq!(ask().await.unwrap_err().kind(), Kind::NotFound);
    // Whoever may push makes it as long as he likes.
    for (count, found, pages) in [(1, 20, 20), (600, 10_000, 17), (0, 0, 1)] {
        let before = fake.count(&path);
        fake.always(&path, page(0, count).header("Link", link(&path)));
        assert_eq!((ask().await.unwrap().len(), fake.count(&path) - before), (found, pages), "{count}");
    }
    fake.always(&path, Answer::new(200, vec![b' '; 5 << 20]));
    assert!(matches!(ask().await.unwrap_err(), Error::TooLarge { .. }));
}

#[tokio::test]
async fn a_search_asks_the_old_way_then_the_catalog_and_else_says_that_it_cannot() {
    let fake = Fake::start().await;
    let term = |word: &str| format!("{}/{word}", fake.address);
    fake.once(
        "/v1/search",
        Answer::new(
            200,
            r#"{"results":[{"name":"nginx","description":"a\u001b[2J","star_count":7,"is_official":true}]}"#,
        ),
    );
    let hits = registry().search(&term("ngi"), 25, None).await.unwrap();
    assert_eq!((hits[0].name.as_str(), hits[0].star_count), (term("nginx").as_str(), 7));
    assert_eq!(hits[0].description, "a[2J");
    assert_eq!(fake.asked()[0].path, "/v1/search?q=ngi&n=25");
    fake.once("/v2/_catalog", Answer::new(200, r#"{"repositories":["a/nginx","b","NGINX2"]}"#));
    let hits = registry().search(&term("nginx"), 1, None).await.unwrap();
    assert_eq!(hits.iter().map(|hit| hit.name.clone()).collect::<Vec<_>>(), [term("a/nginx")]);
    let error = registry().search(&term("nginx"), 5, None).await.unwrap_err();
    assert_eq!((error.kind(), matches!(error, Error::NoSearch(_))), (Kind::NotSupported, true));
}

/// A server elsewhere does not have us ask what only this machine can reach. Who names such an address has it asked.
#[tokio::test]
async fn downloads_are_not_led_back_to_this_machine() {
    let (proxy, here) = (Fake::start().await, Fake::start().await);
    here.always("/secret", Answer::new(200, "secret"));
    here.always("/moved", Answer::new(302, "").header("Location", "/secret"));
    let proxies = Proxies { http: proxy.url(""), ..Proxies::default() };
    let registry = registry_with(Config { proxies: Some(proxies), ..Config::default() });
    let port = here.address.port();
    for target in [
        here.url("/secret"),
        format!("http://localhost:{port}/secret"),
        format!("http://0.0.0.0:{port}/secret"),
        format!("http://[::]:{port}/secret"),
        format!("http://[::ffff:127.0.0.1]:{port}/secret"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fe80::1]/".to_owned(),
    ] {
        proxy.always("http://203.0.113.7/file", Answer::new(302, "").header("Location", &target));
        let error = registry.download("http://203.0.113.7/file", Named::Here).await.err().unwrap();
        assert!(error.to_string().contains("redirects from elsewhere"), "{target}: {error}");
    }
    assert!(here.asked().is_empty() && proxy.asked().iter().all(|asked| asked.path.contains("203.0.113.7")));
    assert!(registry.download(&here.url("/moved"), Named::Here).await.is_ok());
}

/// What came from elsewhere does not name this machine in the first place, and who does tells where he came from.
#[tokio::test]
async fn what_is_elsewhere_names_no_file_of_this_machine() {
    let (proxy, here) = (Fake::start().await, Fake::start().await);
    here.always("/secret", Answer::new(200, "secret"));
    proxy.always("http://203.0.113.7/file", Answer::new(200, "file"));
    here.always("/moved", Answer::new(302, "").header("Location", "http://203.0.113.7/file"));
    let proxies = Proxies { http: proxy.url(""), ..Proxies::default() };
    let registry = registry_with(Config { proxies: Some(proxies), ..Config::default() });
    for address in [here.url("/secret"), format!("http://localhost:{}/secret", here.address.port())] {
        let error = registry.download(&address, Named::Elsewhere).await.err().unwrap().to_string();
        assert!(error.contains("leads to this machine"), "{error}");
        assert_eq!(registry.download(&address, Named::Here).await.unwrap().names, Named::Here);
    }
    assert_eq!(here.count("/secret"), 2);
    for (address, named) in [
        ("http://203.0.113.7/file", Named::Here),
        ("http://203.0.113.7/file", Named::Elsewhere),
        (&here.url("/moved"), Named::Here),
    ] {
        assert_eq!(registry.download(address, named).await.unwrap().names, Named::Elsewhere, "{address}");
    }
}

/// Git is told where a repository has gone, and is sent nowhere that a file would not be taken from.
#[tokio::test]
async fn repositories_are_found_where_they_have_gone() {
    const ASKED: &str = "/info/refs?service=git-upload-pack";
    let (proxy, here) = (Fake::start().await, Fake::start().await);
    let proxies = Proxies { http: proxy.url(""), ..Proxies::default() };
    let registry = registry_with(Config { proxies: Some(proxies), ..Config::default() });
    let moved = |to: &str| Answer::new(301, "").header("Location", to);
    let far = |path: &str| format!("http://203.0.113.7{path}");
    let find = async |address: &str| registry.repository(address, "unasked", Named::Here).await;
    proxy.always(&far("/old/info/refs"), moved(&far(&format!("/new{ASKED}"))));
    // What it answers there is git's to hear.
    proxy.always(&far("/new/info/refs"), Answer::new(401, ""));
    for (address, found) in [("/old", "/new"), ("/old/", "/new"), ("/new/", "/new/")] {
        let repository = find(&far(address)).await.unwrap();
        assert_eq!((repository.address, repository.names), (far(found), Named::Elsewhere));
    }
    let asked = proxy.asked();
    assert!(asked.iter().all(|asked| asked.headers["user-agent"].starts_with("git/")), "{asked:?}");
    let port = here.address.port();
    for (target, words) in [
        (here.url(&format!("/x{ASKED}")), "from elsewhere to this machine"),
        (format!("http://localhost:{port}/x{ASKED}"), "from elsewhere to this machine"),
        (format!("http://169.254.169.254/x{ASKED}"), "from elsewhere to this machine"),
        (format!("file:///etc{ASKED}"), "only http and https"),
        (far("/login?to=me"), "to http://203.0.113.7/login, which is no repository"),
    ] {
        proxy.always(&far("/evil/info/refs"), moved(&target));
        let error = find(&far("/evil")).await.unwrap_err().to_string();
        assert!(error.contains(words), "{target}: {error}");
    }
    assert!(here.asked().is_empty());
    // This machine may send on, and is then answered for by whoever it sends to.
    here.always("/on/info/refs", moved(&far(&format!("/new{ASKED}"))));
    let repository = find(&here.url("/on")).await.unwrap();
    assert_eq!((repository.address, repository.names), (far("/new"), Named::Elsewhere));
    let named = registry.repository(&here.url("/on"), "unasked", Named::Elsewhere).await;
    assert!(named.unwrap_err().to_string().contains("leads to this machine"));
    // Nobody listens, which git finds out too; a name that nobody knows could be any other a moment later.
    assert_eq!(find("http://127.0.0.1:9/x").await.unwrap().address, "http://127.0.0.1:9/x");
    let unproxied = registry_with(Config { proxies: Some(Proxies::default()), ..Config::default() });
    assert!(unproxied.repository("http://none.invalid/x", "unasked", Named::Here).await.is_err());
}

/// A registry elsewhere does not have a password sent to a server of this machine.
#[tokio::test]
async fn a_token_server_is_not_on_this_machine_where_the_registry_is_not() {
    let (proxy, here) = (Fake::start().await, Fake::start().await);
    here.always("/token", Answer::new(200, r#"{"token":"abc"}"#));
    let proxies = Proxies { http: proxy.url(""), ..Proxies::default() };
    let insecure = vec!["registry.example".to_owned()];
    let port = here.address.port();
    let here_by =
        ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"].map(|h| format!("http://{h}:{port}"));
    // Where clouds have what knows a machine's secrets, with TLS as well.
    let link = ["http://169.254.169.254", "https://169.254.169.254", "https://[fe80::1]"].map(str::to_owned);
    for host in here_by.into_iter().chain(link) {
        let realm = format!("Bearer realm=\"{host}/token\"");
        let challenge = Answer::new(401, "").header("WWW-Authenticate", realm);
        proxy.always("http://registry.example/v2/web/manifests/v1", challenge);
        let config =
            Config { insecure: insecure.clone(), proxies: Some(proxies.clone()), ..Config::default() };
        let name = "registry.example/web:v1".parse().unwrap();
        let error = registry_with(config).manifest(&name, Some(&ada())).await.unwrap_err();
        assert!(
            matches!(&error, Error::Realm { cause, .. } if cause.contains("this machine")),
            "{host}: {error}"
        );
    }
    assert!(here.asked().is_empty());
}

#[tokio::test]
async fn an_answer_with_more_headers_than_anybody_needs_is_an_error() {
    let fake = Fake::start().await;
    let many = (0..1000).fold(manifest(), |answer, number| answer.header(&format!("X-{number}"), "x"));
    for answer in [manifest().header("X-Long", "x".repeat(8 << 20)), many] {
        fake.always("/v2/web/manifests/v1", answer);
        let error = registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    }
}
