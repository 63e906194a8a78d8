//! What follows a backslash in a string.

use super::scanner::Unfit;

/// An escape that is arriving, byte by byte: `\n`, `\u00e9`, or a pair of surrogates.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Escape {
    /// How many bytes have come, the first backslash not counted.
    length: u8,
    /// The digits of the half that is arriving.
    digits: u32,
    /// The first half of a pair.
    high: u32,
}

impl Escape {
    /// Takes the next byte; the character, if that was the last.
    pub(super) fn take(&mut self, byte: u8) -> Result<Option<char>, Unfit> {
        self.length += 1;
        match self.length {
            1 if byte == b'u' => Ok(None),
            1 => simple(byte).map(Some).ok_or(Unfit),
            2..=5 | 8..=11 => self.digit(byte),
            6 if byte == b'\\' => Ok(None),
            7 if byte == b'u' => Ok(None),
            _ => Err(Unfit),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<Option<char>, Unfit> {
        let digit = char::from(byte).to_digit(16).ok_or(Unfit)?;
        self.digits = self.digits << 4 | digit;
        match self.length {
            5 if matches!(self.digits, 0xD800..0xDC00) => {
                self.high = std::mem::take(&mut self.digits);
                Ok(None)
            }
            5 => char::from_u32(self.digits).map(Some).ok_or(Unfit),
            11 => self.pair().map(Some),
            _ => Ok(None),
        }
    }

    fn pair(&self) -> Result<char, Unfit> {
        if !matches!(self.digits, 0xDC00..0xE000) {
            return Err(Unfit);
        }
        let beyond = (self.high - 0xD800) << 10 | (self.digits - 0xDC00);
        char::from_u32(0x1_0000 + beyond).ok_or(Unfit)
    }
}

fn simple(byte: u8) -> Option<char> {
    Some(match byte {
        b'"' | b'\\' | b'/' => char::from(byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<char>, Unfit> {
        let mut escape = Escape::default();
        let mut read = Ok(None);
        for byte in text.bytes() {
            assert_eq!(read, Ok(None), "{text} has more than an escape");
            read = escape.take(byte);
        }
        read
    }

    #[test]
    fn every_character_by_its_number() {
        for character in ('\0'..=char::MAX).step_by(17) {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            let text: Vec<_> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            assert_eq!(read(&text.concat()[1..]), Ok(Some(character)));
        }
    }

    #[test]
    fn by_its_letter() {
        for (text, character) in [
            ("\"", '"'),
            ("\\", '\\'),
            ("/", '/'),
            ("b", '\u{8}'),
            ("f", '\u{c}'),
            ("n", '\n'),
            ("r", '\r'),
            ("t", '\t'),
            ("u00E9", 'é'),
            ("uD83d\\uDe00", '😀'),
        ] {
            assert_eq!(read(text), Ok(Some(character)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "a",
            "x",
            "U",
            "'",
            "u00g",
            "u+",
            "udc00",
            "ud800x",
            "ud800\\n",
            "ud800\\ud800",
            "ud800\\u0041",
            "ud800\\ue000",
        ] {
            assert_eq!(read(text), Err(Unfit), "{text}");
        }
        for begun in ["u", "u00", "ud800", "ud800\\", "ud800\\udc0"] {
            assert_eq!(read(begun), Ok(None), "{begun}");
        }
    }
}
