//! Random identifiers in the two shapes that App Runner uses.

use rustls::crypto::ring::default_provider;

/// Sixteen random bytes in hexadecimal: the id of a service, a connector or a configuration revision.
pub(crate) fn resource_id() -> String {
    random().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random (version 4) UUID: the id of an operation or a request.
pub(crate) fn uuid() -> String {
    let mut bytes = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the operating system has random numbers");
    bytes
}
