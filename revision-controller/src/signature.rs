//! Signatures of images, as `cosign sign --key` leaves them in the registry: an image beside the signed one, under the
//! tag `sha256-<digest>.sig`, whose layers are what was signed.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

/// Annotation of a layer with the signature of its content.
pub const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// Signatures of one image that are looked at.
pub const MAX_SIGNATURES: usize = 16;

/// What comes before the key in DER (RFC 5480, RFC 8410).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ED: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public key.
pub struct Key {
    algorithm: &'static dyn VerificationAlgorithm,
    bytes: Vec<u8>,
}

impl Key {
    /// Reads a public key in PEM.
    ///
    /// # Errors
    /// A text that is none, or a key of another kind.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let wrong = "publicKey: Invalid value: must be a public key in PEM, of ECDSA P-256 or Ed25519, as cosign generate-key-pair makes it";
        let body = pem
            .trim()
            .strip_prefix("-----BEGIN PUBLIC KEY-----")
            .and_then(|rest| rest.trim().strip_suffix("-----END PUBLIC KEY-----"));
        let body: String = body.ok_or(wrong)?.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| wrong)?;
        let (algorithm, bytes): (&'static dyn VerificationAlgorithm, &[u8]) =
            match (der.strip_prefix(&P256), der.strip_prefix(&ED)) {
                (Some(point), _) if point.len() == 65 => (&ECDSA_P256_SHA256_ASN1, point),
                (_, Some(key)) if key.len() == 32 => (&ED25519, key),
                _ => return Err(wrong.to_owned()),
            };
        Ok(Self { algorithm, bytes: bytes.to_vec() })
    }

    /// Whether something was signed for this key, and speaks of an image.
    pub fn verifies(&self, payload: &[u8], signature: &str, digest: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let is_signed = UnparsedPublicKey::new(self.algorithm, &self.bytes).verify(payload, &signature).is_ok();
        let signed: Value = serde_json::from_slice(payload).unwrap_or_default();
        is_signed && signed["critical"]["image"]["docker-manifest-digest"] == *digest
    }
}

/// The tag of the signatures of an image.
pub fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
    };

    use super::*;

    fn pem(prefix: &[u8], key: &[u8]) -> String {
        let body = STANDARD.encode([prefix, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    #[test]
    fn rv24_only_what_was_signed_for_the_key_and_the_image_counts() {
        let random = SystemRandom::new();
        let payload = br#"{"critical": {"image": {"docker-manifest-digest": "sha256:a"}, "type": "cosign container image signature"}}"#;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let signature = STANDARD.encode(pair.sign(&random, payload).unwrap());
        let key = Key::parse(&pem(&P256, pair.public_key().as_ref())).unwrap();
        assert!(key.verifies(payload, &signature, "sha256:a"));
        assert!(!key.verifies(payload, &signature, "sha256:b"), "of another image");
        assert!(!key.verifies(b"{}", &signature, "sha256:a"), "of something else");
        assert!(!key.verifies(payload, "!", "sha256:a"));
        let pair = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
        let other = Key::parse(&pem(&ED, pair.public_key().as_ref())).unwrap();
        assert!(!other.verifies(payload, &signature, "sha256:a"), "for another key");
        assert!(other.verifies(payload, &STANDARD.encode(pair.sign(payload)), "sha256:a"));
    }

    #[test]
    fn a_key_that_is_none_is_told() {
        for bad in ["", "abc", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", &pem(&[], &[1, 2, 3])] {
            assert!(Key::parse(bad).is_err_and(|why| why.starts_with("publicKey: Invalid value")));
        }
    }
}
