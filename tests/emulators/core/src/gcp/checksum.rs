//! CRC-32C, the checksum in requests and answers, and gzip, the container of attestations.

use std::io::Read as _;

use crc::{CRC_32_ISCSI, Crc};
use flate2::{Compression, bufread::GzEncoder};

use crate::crypto::Refused;

const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// CRC-32C (RFC 3720, section 12.1), which Cloud KMS protects its data with.
pub(super) fn crc32c(data: &[u8]) -> u32 {
    CRC_32C.checksum(data)
}

/// A gzip file (RFC 1952) of stored blocks. It is not compressed, but every gzip reader reads it.
pub(super) fn gzip(data: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut file = Vec::new();
    GzEncoder::new(data, Compression::none()).read_to_end(&mut file).map_err(|_| Refused)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use flate2::bufread::GzDecoder;

    use super::*;

    /// The check value of the catalogue of CRCs, and two of RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_file_holds_what_went_in_and_nothing_of_this_machine() {
        for length in [0, 1, 65_535, 65_536, 200_000] {
            let data: Vec<u8> = (0..length).map(|place: u32| place.to_le_bytes()[0]).collect();
            let file = gzip(&data).unwrap();
            // Deflate, no flags, no time; the last byte of the header is an unknown system.
            assert_eq!((&file[..8], file[9]), (&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..], 255));
            let mut read = Vec::new();
            GzDecoder::new(file.as_slice()).read_to_end(&mut read).unwrap();
            assert_eq!(read, data, "{length}");
        }
    }
}
