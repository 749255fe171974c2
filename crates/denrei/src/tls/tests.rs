use super::*;

#[test]
fn what_is_no_certificate_or_no_key_is_refused_in_words() {
    let said = |chain: &[u8], key: &[u8]| Tls::new(chain, key).unwrap_err().to_string();
    assert_eq!(said(b"", b""), "there is no certificate in PEM");
    assert!(said(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", b"").contains("certificate"));
    let chain = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(said(chain, b"").contains("the key cannot be read"));
    assert_eq!(format!("{:?}", Tls::new(chain, b"").map_err(|_| ())), "Err(())");
}
