//! Signed images: what a policy lets in, and what it does not.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tare_image::{Error, Policy};
use tare_model::{Digest, HasKind, Kind, Reference};
use tare_oci::image::media_type;

use crate::fake::{Answer, Fake};
use crate::sample::{Layer, Sample, descriptor, document, sha256};
use crate::{Room, reference};

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// A pair of keys of one of the three kinds.
enum Signer {
    Ecdsa(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    fn ecdsa() -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn all() -> [Self; 3] {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        [Self::ecdsa(), Self::Edwards(Ed25519KeyPair::generate().unwrap()), Self::Rsa(rsa)]
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ecdsa(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Edwards(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// The public key as cosign writes it.
    fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ecdsa(key) => key.public_key().as_der(),
            Self::Edwards(key) => key.public_key().as_der(),
            Self::Rsa(key) => key.public_key().as_der(),
        }
        .unwrap();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }
}

/// A signature's payload and what is written about it.
fn signature(signer: &Signer, digest: &Digest, name: &str) -> (String, Value) {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": {},
    })
    .to_string();
    let made = STANDARD.encode(signer.sign(payload.as_bytes()));
    let mut entry = descriptor(PAYLOAD, payload.as_bytes());
    entry["annotations"] = json!({"dev.cosignproject.cosign/signature": made});
    (payload, entry)
}

/// The manifest of signatures, and their payloads served.
fn manifest_of(fake: &Fake, repository: &str, signatures: &[(String, Value)]) -> Value {
    for (payload, _) in signatures {
        let path = format!("/v2/{repository}/blobs/{}", sha256(payload.as_bytes()));
        fake.always(&path, Answer::new(200, payload.clone()));
    }
    let entries: Vec<_> = signatures.iter().map(|(_, entry)| entry.clone()).collect();
    json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, b"{}"), "layers": entries,
    })
}

/// Signatures for a repository that nobody should believe.
type Forgery = Box<dyn Fn(&str) -> Vec<(String, Value)>>;
/// A signature by the right key of something else than the image with this digest in this repository.
type Trick = fn(&Signer, &Digest, &str) -> (String, Value);

/// Serves signatures under the tag that cosign gives them.
fn serve(fake: &Fake, repository: &str, digest: &Digest, signatures: &[(String, Value)]) {
    let manifest = manifest_of(fake, repository, signatures);
    let path = format!("/v2/{repository}/manifests/sha256-{}.sig", digest.hex());
    fake.always(&path, document(media_type::OCI_MANIFEST, &manifest));
}

fn policy(text: &Value) -> Policy {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.json");
    std::fs::write(&path, text.to_string()).unwrap();
    Policy::read(&path).unwrap()
}

fn signed_by(fake: &Fake, signers: &[&Signer]) -> Policy {
    let keys: Vec<_> = signers.iter().map(|signer| signer.pem()).collect();
    let pattern = format!("{}/*", fake.address);
    policy(
        &json!({"default": "reject", "rules": [{"pattern": pattern, "policy": {"signedBy": {"keys": keys}}}]}),
    )
}

fn sample() -> Sample {
    Sample::new(&[Layer::gzip(&[("etc/name", b"signed")])])
}

fn name_of(name: &Reference) -> String {
    format!("{}/{}", name.domain(), name.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_one_of_the_keys_signed_is_let_in_and_runs() {
    for signer in Signer::all() {
        let (fake, room, sample) = (Fake::start().await, Room::open().await, sample());
        sample.serve(&fake, "web", "v1");
        let name = reference(&fake, "web:v1");
        let other = signature(&Signer::ecdsa(), &sample.digest(), &name_of(&name));
        let good = signature(&signer, &sample.digest(), &name_of(&name));
        serve(&fake, "web", &sample.digest(), &[other, good]);
        room.images.set_policy(signed_by(&fake, &[&Signer::ecdsa(), &signer]));
        room.pull(&name).await.unwrap();
        let image = room.images.resolve(&name.to_string()).unwrap();
        room.images.permit(&name.to_string(), &image).unwrap();
        room.images.permit(&image.id.to_string(), &image).unwrap();
        // What was verified is known to the next daemon, and counts as long as the key does.
        let room = room.again().await;
        room.images.set_policy(signed_by(&fake, &[&signer]));
        room.images.permit(&name.to_string(), &image).unwrap();
        room.images.set_policy(signed_by(&fake, &[&Signer::ecdsa()]));
        let error = room.images.permit(&name.to_string(), &image).unwrap_err();
        assert!(error.to_string().contains("pull it again"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_as_wanted_is_refused_before_anything_is_fetched() {
    let signer = Signer::ecdsa();
    let digest = sample().digest();
    let lies: BTreeMap<&str, Forgery> = BTreeMap::from([
        ("nobody", Box::new(|_: &str| Vec::new()) as Forgery),
        ("somebody else", Box::new(move |name: &str| vec![signature(&Signer::ecdsa(), &digest, name)])),
        (
            "another image",
            Box::new({
                let key = Signer::ecdsa();
                move |name: &str| vec![signature(&key, &sha256(b"another"), name)]
            }),
        ),
    ]);
    for (who, made) in lies {
        let (fake, room, sample) = (Fake::start().await, Room::open().await, sample());
        sample.serve(&fake, "web", "v1");
        let name = reference(&fake, "web:v1");
        serve(&fake, "web", &sample.digest(), &made(&name_of(&name)));
        room.images.set_policy(signed_by(&fake, &[&signer]));
        refused(&room, &fake, &name, &sample, who).await;
    }
    // The right key, and what it signed was something else.
    let tricks: [(&str, Trick); 4] = [
        ("another image", |key, _, name| signature(key, &sha256(b"another"), name)),
        ("another repository", |key, digest, _| signature(key, digest, "registry.example/other")),
        ("a payload that was changed", |key, digest, name| {
            let (payload, _) = signature(key, &sha256(b"another"), name);
            let changed = payload.replace(&sha256(b"another").to_string(), &digest.to_string());
            let (_, mut entry) = signature(key, &sha256(b"another"), name);
            entry["digest"] = json!(sha256(changed.as_bytes()));
            (changed, entry)
        }),
        ("something that is no image", |key, digest, name| {
            let payload = json!({"critical": {"identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": digest}, "type": "something else"}})
            .to_string();
            let mut entry = descriptor(PAYLOAD, payload.as_bytes());
            let made = STANDARD.encode(key.sign(payload.as_bytes()));
            entry["annotations"] = json!({"dev.cosignproject.cosign/signature": made});
            (payload, entry)
        }),
    ];
    for (what, trick) in tricks {
        let (fake, room, sample) = (Fake::start().await, Room::open().await, sample());
        sample.serve(&fake, "web", "v1");
        let name = reference(&fake, "web:v1");
        serve(&fake, "web", &sample.digest(), &[trick(&signer, &sample.digest(), &name_of(&name))]);
        room.images.set_policy(signed_by(&fake, &[&signer]));
        refused(&room, &fake, &name, &sample, what).await;
    }
}

async fn refused(room: &Room, fake: &Fake, name: &Reference, sample: &Sample, what: &str) {
    let error = room.pull(name).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }) && error.kind() == Kind::Forbidden, "{what}: {error}");
    assert_eq!(fake.count(&sample.layers[0].path("web")), 0, "{what}");
    assert!(room.files().is_empty(), "{what}: {:?}", room.files());
    assert!(room.images.resolve(&name.to_string()).is_err(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_refers_to_the_image_counts_too() {
    let signer = Signer::ecdsa();
    for listed in ["on a page of its own", "at once", "by tag"] {
        let (fake, room, sample) = (Fake::start().await, Room::open().await, sample());
        sample.serve(&fake, "web", "v1");
        let name = reference(&fake, "web:v1");
        let made = signature(&signer, &sample.digest(), &name_of(&name));
        let manifest = manifest_of(&fake, "web", &[made]);
        let of_signature = sha256(manifest.to_string().as_bytes());
        let served = document(media_type::OCI_MANIFEST, &manifest);
        fake.always(&format!("/v2/web/manifests/{of_signature}"), served);
        let mut entry = descriptor(media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
        entry["artifactType"] = "application/vnd.dev.cosign.artifact.sig.v1+json".into();
        let list = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
        let path = match listed {
            "by tag" => format!("/v2/web/manifests/sha256-{}", sample.digest().hex()),
            _ => format!("/v2/web/referrers/{}", sample.digest()),
        };
        if listed == "on a page of its own" {
            let mut other = descriptor(media_type::OCI_MANIFEST, b"a list of what is in it");
            other["artifactType"] = "application/spdx+json".into();
            let first = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [other]});
            let link = format!("<{path}?last=1>; rel=\"next\"");
            fake.once(&path, document(media_type::OCI_INDEX, &first).header("Link", link));
        }
        fake.always(&path, document(media_type::OCI_INDEX, &list));
        room.images.set_policy(signed_by(&fake, &[&signer]));
        room.pull(&name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_are_here_are_judged_by_the_name_they_are_run_under() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, sample());
    sample.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    room.pull(&name).await.unwrap();
    let image = room.images.resolve(&name.to_string()).unwrap();
    let permit = |name: &str| room.images.permit(name, &room.images.resolve(name).unwrap());
    assert!(permit(&name.to_string()).is_ok(), "no policy accepts everything");
    room.images.set_policy(signed_by(&fake, &[&Signer::ecdsa()]));
    assert!(matches!(permit(&name.to_string()), Err(Error::Refused { .. })));
    assert!(matches!(permit(&image.id.to_string()), Err(Error::Refused { .. })));
    // Another name is another rule; a name that was given here does not make it signed.
    let local = "mine/app:1".parse().unwrap();
    room.images.tag(&name.to_string(), &local).await.unwrap();
    assert!(matches!(permit("mine/app:1"), Err(Error::Refused { .. })));
    let rules = json!({"default": "reject", "rules": [{"pattern": "docker.io/mine/*", "policy": "accept"}]});
    room.images.set_policy(policy(&rules));
    assert!(permit("mine/app:1").is_ok());
    assert!(matches!(permit(&name.to_string()), Err(Error::Refused { .. })));
    assert!(matches!(room.pull(&name).await, Err(Error::Refused { .. })));
}

/// Whoever may push can put up any number of signatures; so many are looked at, and no more are fetched.
#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_signatures_are_fetched() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, sample());
    sample.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    let bad = signature(&Signer::ecdsa(), &sample.digest(), &name_of(&name));
    serve(&fake, "web", &sample.digest(), &vec![bad; 100]);
    let mut entry = descriptor(media_type::OCI_MANIFEST, b"another");
    entry["artifactType"] = "application/vnd.dev.cosign.artifact.sig.v1+json".into();
    let list = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
    fake.always(&format!("/v2/web/referrers/{}", sample.digest()), document(media_type::OCI_INDEX, &list));
    room.images.set_policy(signed_by(&fake, &[&Signer::ecdsa()]));
    let error = room.pull(&name).await.unwrap_err();
    assert!(error.to_string().contains("none of its 64 signatures"), "{error}");
    assert_eq!(fake.count(&format!("/v2/web/manifests/{}", sha256(b"another"))), 0);
}
