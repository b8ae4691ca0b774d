//! When certificates expire (RFC 5280, 4.1.2.5).
//!
//! A chain is as good as the first of its certificates that expires. One that cannot be read as X.509 says nothing: whether
//! a certificate is of use is for the TLS library to judge.

use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use crate::clock::Timestamp;

/// When the first of these certificates in DER expires. `None` if none of them can be read.
pub(super) fn first_end<T: AsRef<[u8]>>(chain: impl Iterator<Item = T>) -> Option<Timestamp> {
    chain.filter_map(|it| end(it.as_ref())).min()
}

/// When a certificate expires.
fn end(der: &[u8]) -> Option<Timestamp> {
    Some(end_of(&parse_x509_certificate(der).ok()?.1))
}

/// One of before 1970 expires at the beginning of that year.
fn end_of(certificate: &X509Certificate<'_>) -> Timestamp {
    let seconds = certificate.validity().not_after.timestamp();
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

/// Until when the certificates of a file are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// How many of them can be read.
    pub count: usize,
    /// When the first of them expires.
    pub first: Timestamp,
    /// When the last of them expires.
    pub last: Timestamp,
    /// Each is issued by the one behind it, as far as their names say: none is of use without the others.
    pub is_chain: bool,
}

impl Validity {
    /// Of these certificates in DER. `None` if none of them can be read.
    pub(super) fn of<T: AsRef<[u8]>>(all: &[T]) -> Option<Self> {
        let read = all.iter().filter_map(|it| parse_x509_certificate(it.as_ref()).ok());
        let read: Vec<_> = read.map(|(_, it)| it).collect();
        let ends = || read.iter().map(end_of);
        let issues = |pair: &[X509Certificate<'_>]| match pair {
            // One that has issued itself is the last of a chain, also where a CA has two of one name.
            [one, issuer] => one.issuer() == issuer.subject() && one.issuer() != one.subject(),
            _ => false,
        };
        let is_chain = read.windows(2).all(issues);
        Some(Self { count: read.len(), first: ends().min()?, last: ends().max()?, is_chain })
    }

    /// When the file is of no use any more: a chain is as good as the first that expires, and of several certificates beside
    /// each other the last one may be what is needed.
    pub fn end(&self) -> Timestamp {
        if self.is_chain { self.first } else { self.last }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Self-signed. The ends have the two forms that RFC 5280 asks for: of four digits from 2050 on, of two before.
    const LATE: &[u8] = include_bytes!("../../tests/data/certificates/late.der");
    const PAST: &[u8] = include_bytes!("../../tests/data/certificates/past.der");

    #[test]
    fn a_chain_ends_with_the_first_of_its_certificates() {
        let ends = |chain: &[&[u8]]| first_end(chain.iter()).map(|it| it.to_string());
        assert_eq!(ends(&[LATE]).as_deref(), Some("2050-01-01T00:00:00.000Z"));
        let past = Some("2020-01-01T00:00:00.000Z");
        assert_eq!(ends(&[PAST, LATE]).as_deref(), past);
        assert_eq!(ends(&[LATE, PAST]).as_deref(), past);
        assert_eq!(ends(&[]), None);
        assert_eq!(ends(&[b"no certificate", PAST]).as_deref(), past);
        assert_eq!(ends(&[&LATE[..100]]), None);
    }

    /// Both are issued by themselves, and have one name.
    #[test]
    fn of_certificates_beside_each_other_the_last_counts_and_of_a_chain_the_first() {
        let of = |all: &[&[u8]]| Validity::of(all);
        let late = of(&[LATE]).unwrap();
        assert_eq!((late.count, late.is_chain, late.end()), (1, true, end(LATE).unwrap()));
        let beside = of(&[LATE, PAST]).unwrap();
        assert_eq!((beside.count, beside.is_chain, beside.end()), (2, false, end(LATE).unwrap()));
        assert_eq!(beside.first, end(PAST).unwrap());
        let some = of(&[b"no certificate", PAST]).unwrap();
        assert_eq!((some.count, some.end()), (1, end(PAST).unwrap()));
        assert_eq!(of(&[b"none"]), None);
    }

    proptest! {
        #[test]
        fn spoilt_certificates_are_no_certificates_or_others(at in 0..LATE.len(), byte: u8) {
            let mut spoilt = LATE.to_vec();
            spoilt[at] = byte;
            // Whatever it says: it ends without a panic.
            let _ = end(&spoilt);
        }
    }
}
