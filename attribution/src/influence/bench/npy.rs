//! Arrays in the `.npy` form of NumPy, version 1.0: a magic, a header in Python's notation, and the numbers in little
//! endian, the last index running fastest.

use std::fmt::Write as _;

const MAGIC: &[u8; 8] = b"\x93NUMPY\x01\x00";
/// Numbers of one array.
const MAX_NUMBERS: usize = 1 << 30;

/// Kinds of numbers.
pub(super) trait Number: Copy {
    const DESCRIPTION: &'static str;
    const BYTES: usize;
    fn put(self, out: &mut Vec<u8>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($kind:ty, $description:literal) => {
        impl Number for $kind {
            const DESCRIPTION: &'static str = $description;
            const BYTES: usize = size_of::<$kind>();

            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> Self {
                let mut all = [0; size_of::<$kind>()];
                all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                Self::from_le_bytes(all)
            }
        }
    };
}

number!(f32, "<f4");
number!(f64, "<f8");
number!(i64, "<i8");

/// Why bytes are not an array as it is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum NpyError {
    #[error("it is no .npy file of version 1")]
    Magic,
    #[error("its header is `{header}`, where numbers `{expected}` in C order with a shape are expected")]
    Header { header: String, expected: &'static str },
    #[error("it has {got} bytes of numbers, where its shape has {expected}")]
    Length { got: usize, expected: usize },
}

/// The bytes of an array.
pub(super) fn write<T: Number>(shape: &[usize], numbers: impl Iterator<Item = T>) -> Vec<u8> {
    let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': (", T::DESCRIPTION);
    // A shape of one number has a comma behind it, in Python.
    for (at, size) in shape.iter().enumerate() {
        let separator = if at > 0 { " " } else { "" };
        let _ = write!(header, "{separator}{size},");
    }
    header.push_str("), }");
    let length = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.resize(MAGIC.len() + 2 + length - 1, b' ');
    out.push(b'\n');
    numbers.for_each(|number| number.put(&mut out));
    out
}

/// The shape and numbers of an array.
pub(super) fn read<T: Number>(bytes: &[u8]) -> Result<(Vec<usize>, Vec<T>), NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NpyError::Magic)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(NpyError::Magic)?;
    let (header, numbers) = rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(NpyError::Magic)?;
    let header = String::from_utf8_lossy(header).into_owned();
    let shape = shape::<T>(&header);
    let shape = shape.ok_or_else(|| NpyError::Header { header: header.trim().to_owned(), expected: T::DESCRIPTION })?;
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let expected = count.filter(|count| *count <= MAX_NUMBERS).map_or(usize::MAX, |count| count * T::BYTES);
    if numbers.len() != expected {
        return Err(NpyError::Length { got: numbers.len(), expected });
    }
    Ok((shape, numbers.chunks_exact(T::BYTES).map(T::get).collect()))
}

fn shape<T: Number>(header: &str) -> Option<Vec<usize>> {
    let field = |name: &str| header.split_once(&format!("'{name}':")).map(|(_, rest)| rest.trim_start());
    field("descr")?.starts_with(&format!("'{}'", T::DESCRIPTION)).then_some(())?;
    field("fortran_order")?.starts_with("False").then_some(())?;
    let (shape, _) = field("shape")?.strip_prefix('(')?.split_once(')')?;
    shape.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_and_damaged_ones_do_not() {
        let bytes = write(&[2, 3], [1.5_f64, -2.0, 0.0, 4.0, 5.0, f64::MAX].into_iter());
        assert_eq!(bytes.len() % 64, 48);
        let (shape, numbers) = read::<f64>(&bytes).unwrap();
        assert_eq!((shape, &numbers[..2]), (vec![2, 3], &[1.5, -2.0][..]));
        assert_eq!(read::<i64>(&write(&[2], [7_i64, -1].into_iter())).unwrap(), (vec![2], vec![7, -1]));
        assert!(matches!(read::<f32>(&bytes), Err(NpyError::Header { .. })));
        for end in 0..bytes.len() {
            assert!(read::<f64>(&bytes[..end]).is_err(), "{end}");
        }
        let huge = String::from_utf8_lossy(&bytes[..128]).replace("(2, 3,)", "(9999999999, 9999999999,)");
        assert!(read::<f64>(huge.as_bytes()).is_err());
    }
}
