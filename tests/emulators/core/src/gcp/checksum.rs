//! CRC32C over what goes to and fro, and CRC32 with a container that needs it: gzip.

/// CRC32C (Castagnoli, RFC 3720), which Cloud KMS guards its data with.
pub(super) fn crc32c(data: &[u8]) -> u32 {
    crc(0x82f6_3b78, data)
}

/// A gzip file (RFC 1952) of stored blocks (RFC 1951, section 3.2.4): not smaller, but whatever reads gzip reads it.
pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    // Deflate, no flags, no time, no hints, an unknown system.
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    if blocks.peek().is_none() {
        file.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        // A chunk is never longer than 16 bits can say.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc(0xedb8_8320, data).to_le_bytes());
    // The length modulo 2^32.
    file.extend(&data.len().to_le_bytes()[..4]);
    file
}

/// A reflected CRC of 32 bits.
fn crc(polynomial: u32, data: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
    !data.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_are_those_of_the_catalogue() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc(0xedb8_8320, b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_file_has_one_last_block() {
        for (length, blocks) in [(0, 1), (1, 1), (65_535, 1), (65_536, 2)] {
            assert_eq!(gzip(&vec![7; length]).len(), 10 + 5 * blocks + length + 8, "{length}");
        }
    }
}
