//! Keys that sign and keys that verify.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, ParsedPublicKey, RsaEncoding,
    VerificationAlgorithm,
};
use zeroize::Zeroizing;

use super::{Algorithm, JoseError};

impl Algorithm {
    fn curve(self) -> Option<&'static EcdsaSigningAlgorithm> {
        match self {
            Self::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::Es512 => Some(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            Self::Ps256 | Self::Ps384 | Self::Ps512 => None,
        }
    }

    fn padding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Ps384 => &signature::RSA_PSS_SHA384,
            Self::Ps512 => &signature::RSA_PSS_SHA512,
            Self::Es256 | Self::Es384 | Self::Es512 | Self::Ps256 => &signature::RSA_PSS_SHA256,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
            // 2,048 bits at least (RFC 7518 §3.5).
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        }
    }
}

/// A private key that signs in one algorithm, with the id that Wise gave it.
pub(crate) struct SigningKey {
    algorithm: Algorithm,
    kid: Option<String>,
    pair: Pair,
}

enum Pair {
    Ec(Box<EcdsaKeyPair>),
    Rsa(Box<rsa::KeyPair>),
}

impl SigningKey {
    /// A key from PKCS#8.
    ///
    /// - Errors: the key is of another kind, on another curve, or an RSA key below 2,048 bits.
    pub(crate) fn from_pkcs8(
        algorithm: Algorithm,
        kid: Option<String>,
        der: &[u8],
    ) -> Result<Self, JoseError> {
        let wrong = |_| JoseError::WrongKey(algorithm.name());
        let pair = match algorithm.curve() {
            Some(curve) => Pair::Ec(Box::new(
                EcdsaKeyPair::from_pkcs8(curve, der).map_err(wrong)?,
            )),
            None => Pair::Rsa(Box::new(rsa::KeyPair::from_pkcs8(der).map_err(wrong)?)),
        };
        Ok(Self {
            algorithm,
            kid,
            pair,
        })
    }

    /// A new key as PKCS#8; RSA keys have 3,072 bits. Takes up to a second for those.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, JoseError> {
        let der: Pkcs8V1Der<'static> = match algorithm.curve() {
            Some(curve) => {
                let pair = EcdsaKeyPair::generate(curve)?;
                let document = pair.to_pkcs8v1()?;
                return Ok(Zeroizing::new(document.as_ref().to_vec()));
            }
            None => rsa::KeyPair::generate(rsa::KeySize::Rsa3072)?.as_der()?,
        };
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The public key as a DER `SubjectPublicKeyInfo`, as Wise wants it registered.
    pub(crate) fn public_der(&self) -> Result<Vec<u8>, JoseError> {
        let der: PublicKeyX509Der<'static> = match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_der()?,
            Pair::Rsa(pair) => pair.public_key().as_der()?,
        };
        Ok(der.as_ref().to_vec())
    }

    /// A signature as JWS has it: for elliptic curves `r` and `s` at their fixed width (RFC 7518
    /// §3.4).
    pub(super) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, JoseError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&random, input)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(self.algorithm.padding(), &random, input, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A public key that verifies in one algorithm: the message does not choose (RFC 8725 §3.1).
#[derive(Clone, Debug)]
pub(crate) struct VerifyingKey {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    /// A key from a DER `SubjectPublicKeyInfo`, as Wise hands it out.
    pub(crate) fn from_der(algorithm: Algorithm, der: &[u8]) -> Result<Self, JoseError> {
        let key = ParsedPublicKey::new(algorithm.verification(), der)
            .map_err(|_| JoseError::WrongKey(algorithm.name()))?;
        Ok(Self { algorithm, key })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn verify(&self, input: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        self.key
            .verify_sig(input, signature)
            .map_err(|_| JoseError::WrongSignature)
    }
}
