//! Numbers, as exact decimals.

use super::scanner::Unfit;

/// The longest spelling without an exponent that a number may come out with, its sign not
/// counted: `1e20` must not become a long row of zeros, and `1e999999999` a fatal one.
const LONGEST_PLAIN: usize = 20;

/// Whether a number of JSON may contain this byte.
pub(super) fn belongs(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')
}

/// The end of the number that begins at `at`, if it is there, and spelled as it is to be,
/// as nearly all numbers are. If not, [`Decimal`] knows whether it is a number at all.
pub(super) fn shortest_end(bytes: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let mut end = from;
        while bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        end
    };
    let begin = at + usize::from(bytes.get(at) == Some(&b'-'));
    let whole = digits(begin);
    let mut end = whole;
    if bytes.get(whole) == Some(&b'.') {
        end = digits(whole + 1);
        if bytes[end - 1] == b'0' || end == whole + 1 {
            return None;
        }
    }
    let zero_fits = whole == begin + 1 && (begin == at || end > whole);
    let fits = whole > begin && (bytes[begin] != b'0' || zero_fits);
    let ends = bytes.get(end).is_some_and(|next| !belongs(*next));
    (fits && ends && end - begin <= LONGEST_PLAIN).then_some(end)
}

/// A number: its digits, without zeros at either end, and a power of ten.
pub(super) struct Decimal<'a> {
    negative: bool,
    /// The digits, with the point they may have among them left out.
    whole: &'a [u8],
    fraction: &'a [u8],
    /// The exponent as written: its sign, and its digits without zeros in front.
    exponent_negative: bool,
    exponent: &'a [u8],
    /// What the place of the last digit adds to the exponent.
    shift: i64,
}

impl<'a> Decimal<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Unfit> {
        let (negative, text) = sign(text, b"-");
        let (whole, text) = digits(text)?;
        if whole.len() > 1 && whole[0] == b'0' {
            return Err(Unfit);
        }
        let (fraction, text) = match text {
            [b'.', text @ ..] => digits(text)?,
            _ => (&[][..], text),
        };
        let (exponent_negative, exponent) = match text {
            [] => (false, &[][..]),
            [b'e' | b'E', text @ ..] => {
                let (negative, text) = sign(text, b"+-");
                let (exponent, rest) = digits(text)?;
                if !rest.is_empty() {
                    return Err(Unfit);
                }
                (negative, without_zeros_in_front(exponent))
            }
            _ => return Err(Unfit),
        };
        let (whole, fraction, shift) = trimmed(whole, fraction);
        Ok(Self {
            negative,
            whole,
            fraction,
            exponent_negative,
            exponent,
            shift,
        })
    }

    /// Writes its one spelling.
    pub(super) fn write(&self, text: &mut Vec<u8>) {
        if self.is_zero() {
            return text.push(b'0');
        }
        if self.negative {
            text.push(b'-');
        }
        match self.small_exponent() {
            Some(exponent) => self.write_placed(exponent, text),
            None => {
                self.write_digits(text);
                text.push(b'e');
                self.write_large_exponent(text);
            }
        }
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    fn write_digits(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.whole);
        text.extend_from_slice(self.fraction);
    }

    /// The power of ten of the last digit, unless it was written with very many digits.
    fn small_exponent(&self) -> Option<i64> {
        if self.exponent.len() > SMALL_EXPONENT {
            return None;
        }
        let written = self
            .exponent
            .iter()
            .fold(0, |all, digit| all * 10 + i64::from(digit - b'0'));
        Some(
            self.shift
                + if self.exponent_negative {
                    -written
                } else {
                    written
                },
        )
    }

    /// Without an exponent if that is not too long.
    fn write_placed(&self, exponent: i64, text: &mut Vec<u8>) {
        let start = text.len();
        self.write_digits(text);
        let digits = text.len() - start;
        let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
        let fits = |length: usize| length <= LONGEST_PLAIN;
        if exponent >= 0 && fits(digits.saturating_add(places)) {
            text.resize(text.len() + places, b'0');
        } else if exponent < 0 && places < digits && fits(digits + 1) {
            text.insert(text.len() - places, b'.');
        } else if exponent < 0 && places >= digits && fits(places.saturating_add(2)) {
            let zeros = &b"0.000000000000000000"[..2 + places - digits];
            text.splice(start..start, zeros.iter().copied());
        } else {
            text.extend_from_slice(format!("e{exponent}").as_bytes());
        }
    }

    /// An exponent of very many digits, with the shift added on paper.
    fn write_large_exponent(&self, text: &mut Vec<u8>) {
        if self.exponent_negative {
            text.push(b'-');
        }
        let start = text.len();
        text.extend_from_slice(self.exponent);
        // Larger by far than any shift, it keeps its sign.
        let outwards = if self.exponent_negative {
            -self.shift
        } else {
            self.shift
        };
        add(text, start, outwards);
    }
}

/// An exponent of that many digits, and any shift, fit an `i64`.
const SMALL_EXPONENT: usize = 18;

fn sign<'a>(text: &'a [u8], signs: &[u8]) -> (bool, &'a [u8]) {
    match text {
        [first, rest @ ..] if signs.contains(first) => (*first == b'-', rest),
        _ => (false, text),
    }
}

/// The digits in front, at least one, and what follows them.
fn digits(text: &[u8]) -> Result<(&[u8], &[u8]), Unfit> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    match digits.count() {
        0 => Err(Unfit),
        count => Ok(text.split_at(count)),
    }
}

fn without_zeros_in_front(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0');
    &digits[zeros.count()..]
}

fn without_zeros_behind(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0');
    &digits[..digits.len() - zeros.count()]
}

/// The digits without zeros at either end, and the power of ten of the last of them.
fn trimmed<'a>(whole: &'a [u8], fraction: &'a [u8]) -> (&'a [u8], &'a [u8], i64) {
    let length = |digits: &[u8]| i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let whole = without_zeros_in_front(whole);
    let fraction = without_zeros_behind(fraction);
    if fraction.is_empty() {
        let kept = without_zeros_behind(whole);
        return (kept, fraction, length(whole) - length(kept));
    }
    let shift = -length(fraction);
    match whole {
        [] => (whole, without_zeros_in_front(fraction), shift),
        _ => (whole, fraction, shift),
    }
}

/// Adds to the number whose digits `text` has from `start` on, and which is far larger.
fn add(text: &mut Vec<u8>, start: usize, mut carry: i64) {
    for digit in text[start..].iter_mut().rev() {
        let sum = i64::from(*digit - b'0') + carry;
        *digit = b'0' + u8::try_from(sum.rem_euclid(10)).unwrap_or_default();
        carry = sum.div_euclid(10);
    }
    if carry > 0 {
        text.splice(start..start, carry.to_string().into_bytes());
    }
    let zeros = text[start..].iter().take_while(|digit| **digit == b'0');
    text.drain(start..start + zeros.count());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_shortest(text: &[u8]) -> bool {
        shortest_end(&[text, b","].concat(), 0) == Some(text.len())
    }

    fn spelled(text: &str) -> Result<String, Unfit> {
        let mut spelled = Vec::new();
        Decimal::parse(text.as_bytes())?.write(&mut spelled);
        Ok(String::from_utf8(spelled).unwrap())
    }

    #[test]
    fn one_spelling() {
        let nines = "9".repeat(18);
        for (spellings, one) in [
            (&["1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000e-0"][..], "1"),
            (&["0", "-0", "0.0", "0e5", "-0.00e-7"], "0"),
            (&["100", "1e2", "1E+2", "0.001e5"], "100"),
            (&["0.1", "1e-1", "0.10"], "0.1"),
            (&["-12.5", "-1250e-2", "-0.125e2"], "-12.5"),
            (&["0.00012", "12e-5"], "0.00012"),
            (&["9007199254740993"], "9007199254740993"),
            (&["1e19", "10000000000000000000"], "10000000000000000000"),
            (&["1e20", "100000000000000000000"], "1e20"),
            (&["0.000000000000000001", "1e-18"], "0.000000000000000001"),
            (&["0.0000000000000000001", "1e-19"], "1e-19"),
            (&["1234567890.123456789"], "1234567890.123456789"),
            (&["1234567890.1234567891"], "12345678901234567891e-10"),
            (&["1e999999999", "10e999999998"], "1e999999999"),
            (
                &["1e1000000000000000000", "10e999999999999999999"],
                "1e1000000000000000000",
            ),
            (
                &["1e-1000000000000000000", "0.1e-999999999999999999"],
                "1e-1000000000000000000",
            ),
            (
                &[&*format!("10e{nines}9")],
                &*format!("1e1{}", "0".repeat(19)),
            ),
            (&["1.5e0000000000000000000000001"], "15"),
        ] {
            for spelling in spellings {
                assert_eq!(spelled(spelling).as_deref(), Ok(one), "{spelling}");
                assert_eq!(
                    is_shortest(spelling.as_bytes()),
                    *spelling == one && !one.contains('e'),
                    "{spelling}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in [
            "", "-", "+1", "01", "-01", "00", "1.", ".1", "1.e1", "1e", "1e+", "1e1.0", "1-",
            "--1", "1e1e1", "0x", "1.2.3", "-.5",
        ] {
            assert!(spelled(text).is_err(), "{text}");
            assert!(!is_shortest(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        /// Where the point stands, and what the exponent is, can be traded for each other.
        #[test]
        fn moving_the_point(
            digits in "[1-9][0-9]{0,24}[1-9]",
            point in 1..24_usize,
            exponent in prop_oneof![-40..40_i64, any::<i32>().prop_map(i64::from)],
            padding in "0{0,3}",
        ) {
            let point = point.min(digits.len() - 1);
            let places = i64::try_from(digits.len() - point).unwrap();
            let (whole, fraction) = digits.split_at(point);
            let pointed = format!("{whole}.{fraction}{padding}e{exponent}");
            let whole = format!("{digits}e{}", exponent - places);
            prop_assert_eq!(spelled(&pointed), spelled(&whole));
            let another = format!("{digits}e{}", exponent - places + 1);
            prop_assert_ne!(spelled(&another), spelled(&whole));
        }

        /// What is taken as it stands is what the long way makes of it.
        #[test]
        fn shortest_is_what_is_written(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{0,20})?(e-?[0-9]{0,2})?") {
            if is_shortest(text.as_bytes()) {
                prop_assert_eq!(spelled(&text), Ok(text));
            } else if let Ok(spelled) = spelled(&text) {
                prop_assert!(spelled != text || text.contains('e'));
            }
        }
    }
}
