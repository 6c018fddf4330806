//! Public keys as cosign writes them: PEM of a `SubjectPublicKeyInfo` (RFC 5280), of ECDSA P-256, Ed25519 or RSA.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A key that signatures are checked with.
#[derive(Clone)]
pub(crate) struct Key {
    der: Vec<u8>,
    algorithm: &'static dyn VerificationAlgorithm,
}

/// The object identifiers of the three, as they stand in the DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const EDWARDS: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The identifiers stand at the beginning.
const HEAD: usize = 40;

impl Key {
    /// Reads a key; says what is wrong with one that is none.
    pub(crate) fn parse(pem: &str) -> Result<Self, String> {
        let body = pem
            .split_once("-----BEGIN PUBLIC KEY-----")
            .and_then(|(_, rest)| rest.split_once("-----END PUBLIC KEY-----"));
        let (body, _) = body.ok_or("it is no PEM of a public key (BEGIN PUBLIC KEY)")?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|error| error.to_string())?;
        let head = &der[..der.len().min(HEAD)];
        let has = |identifier: &[u8]| head.windows(identifier.len()).any(|window| window == identifier);
        let algorithm: &'static dyn VerificationAlgorithm = match () {
            () if has(P256) => &ECDSA_P256_SHA256_ASN1,
            () if has(EDWARDS) => &ED25519,
            () if has(RSA) => &RSA_PKCS1_2048_8192_SHA256,
            () => return Err("it is no key of ECDSA P-256, Ed25519 or RSA".to_owned()),
        };
        let key = UnparsedPublicKey::new(algorithm, &der);
        key.parse().map_err(|_| "it cannot be used as a key".to_owned())?;
        Ok(Self { der, algorithm })
    }

    /// Whether this key signed the message.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.der).verify(message, signature).is_ok()
    }

    /// What tells it from others: the SHA-256 of its DER.
    pub(crate) fn fingerprint(&self) -> String {
        digest(&SHA256, &self.der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.fingerprint())
    }
}
