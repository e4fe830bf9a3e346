//! Numbers of variable length (LEB128), as protobuf, ClickHouse and the spool's files have them: seven bits a byte, the low ones first, the high bit
//! says that more follow.

/// Appends a number.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number that `bytes` begin with, and what follows it; `None` when it is cut short or does not fit 64 bits.
pub(crate) fn split(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        if index == 9 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return bytes.get(index + 1..).map(|rest| (value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_read(value: u64, behind: Vec<u8>) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            let len = bytes.len();
            for cut in 0..len {
                prop_assert_eq!(split(&bytes[..cut]), None);
            }
            bytes.extend(&behind);
            prop_assert_eq!(split(&bytes), Some((value, &behind[..])));
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(split(&most), Some((u64::MAX, &[][..])));
        most[9] = 2;
        assert_eq!(split(&most), None);
        assert_eq!(split(&[0xff; 11]), None);
    }
}
