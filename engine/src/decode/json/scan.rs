//! A strict JSON scanner over one record: tokens as byte spans, eight bytes at a time where it can.

use crate::decode::MAX_DEPTH;

/// Why scanning stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON.
    Syntax,
    /// Nested too deeply.
    TooDeep,
}

/// A string without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    /// Start of the text.
    pub start: usize,
    /// End of the text.
    pub end: usize,
    /// Whether it holds escapes.
    pub escaped: bool,
}

/// A number as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    start: usize,
    end: usize,
    negative: bool,
    /// Digits without the point, when they fit.
    mantissa: u64,
    /// Power of ten of the last digit.
    exponent: i32,
    /// Whether the mantissa holds all digits.
    exact: bool,
    /// Whether there is neither fraction nor exponent.
    integral: bool,
}

const POWERS: [f64; 23] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// Powers of ten that fit.
const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Up to eight digits: their value, and how many they are. None near the end of the bytes.
#[inline(always)]
fn eight_digits(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let chunk: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    let word = u64::from_le_bytes(chunk) ^ (ONES * u64::from(b'0'));
    let others = (word.wrapping_add(ONES * 0x76) | word) & HIGHS;
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return Some((0, 0));
    }
    // The last digit to the highest byte; then pairs, fours and all eight.
    let word = word << (64 - 8 * count);
    let pairs = word.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000 << 32 | 1) >> 32, count))
}

impl Number {
    /// The number that starts here, if it is one of up to 15 digits, with up to seven of them after the point and no
    /// exponent. None says nothing about any other.
    #[inline(always)]
    pub fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let negative = *bytes.get(start)? == b'-';
        let first = start + usize::from(negative);
        let (mut mantissa, mut digits) = eight_digits(bytes, first)?;
        if digits == 8 {
            let (more, count) = eight_digits(bytes, first + 8)?;
            mantissa = mantissa * TENS[count] + more;
            digits += count;
        }
        let mut end = first + digits;
        if digits == 0 || digits > 15 || (digits > 1 && bytes[first] == b'0') {
            return None;
        }
        let (mut exponent, mut integral) = (0, true);
        if *bytes.get(end)? == b'.' {
            let (fraction, count) = eight_digits(bytes, end + 1)?;
            if count == 0 || count == 8 || digits + count > 15 {
                return None;
            }
            mantissa = mantissa * TENS[count] + fraction;
            (exponent, integral) = (-(count as i32), false);
            end += 1 + count;
        }
        if matches!(bytes.get(end)?, b'e' | b'E') {
            return None;
        }
        Some(Number { start, end, negative, mantissa, exponent, exact: true, integral })
    }

    /// Where it ends.
    #[inline]
    pub fn end(&self) -> usize {
        self.end
    }

    /// The integer that it is, unless it has a fraction or exponent or does not fit.
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        if !self.integral || !self.exact || self.mantissa > i64::MAX as u64 {
            return None;
        }
        Some(if self.negative { -(self.mantissa as i64) } else { self.mantissa as i64 })
    }

    /// The nearest finite float. Exact in one step when mantissa and power of ten both are (Clinger, "How
    /// to read floating point numbers accurately", PLDI 1990); otherwise by the standard library.
    #[inline]
    pub fn float(&self, bytes: &[u8]) -> Option<f64> {
        if self.exact && self.mantissa <= 1 << 53 && (-22..=22).contains(&self.exponent) {
            let power = POWERS[self.exponent.unsigned_abs() as usize];
            let x = if self.exponent < 0 { self.mantissa as f64 / power } else { self.mantissa as f64 * power };
            return Some(if self.negative { -x } else { x });
        }
        let text = std::str::from_utf8(&bytes[self.start..self.end]).ok()?;
        text.parse().ok().filter(|x: &f64| x.is_finite())
    }
}

/// A cursor over one record.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks, in the high bit of each byte, the first quote, backslash or control character (later marks may
/// be false). Non-ASCII bytes are not marked.
#[inline]
fn special(word: u64) -> u64 {
    let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control
}

impl<'a> Scanner<'a> {
    /// At the start of a record.
    pub fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0 }
    }

    /// The record.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the cursor is.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes back to where a value began.
    pub fn seek(&mut self, position: usize) {
        self.at = position;
    }

    /// The byte at the cursor.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Steps over a byte.
    #[inline]
    pub fn bump(&mut self) {
        self.at += 1;
    }

    /// Steps over white space.
    #[inline]
    pub fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Only white space may follow.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Fault::Syntax) }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(Fault::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    /// Inside an object: steps to the next key, or over the closing brace (false).
    #[inline]
    pub fn next_member(&mut self, first: &mut bool) -> Result<bool, Fault> {
        self.skip_space();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.skip_space();
            }
            Some(b'"') if *first => {}
            _ => return Err(Fault::Syntax),
        }
        *first = false;
        Ok(true)
    }

    /// Between a key and its value.
    #[inline]
    pub fn colon(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b':') {
            self.skip_space();
        }
        self.expect(b':')?;
        if matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.skip_space();
        }
        Ok(())
    }

    /// A string; escapes are checked when it is unescaped or skipped.
    #[inline]
    pub fn string(&mut self) -> Result<Token, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            while let Some(chunk) = self.bytes.get(self.at..self.at + 8) {
                let word = u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
                let marks = special(word);
                if marks != 0 {
                    self.at += (marks.trailing_zeros() / 8) as usize;
                    break;
                }
                self.at += 8;
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token { start, end: self.at - 1, escaped: false });
                }
                Some(b'\\') => return self.escaped_string(start),
                Some(0..=0x1f) | None => return Err(Fault::Syntax),
                Some(_) => self.at += 1,
            }
        }
    }

    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<Token, Fault> {
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(0..=0x1f) | None => return Err(Fault::Syntax),
                Some(_) => self.at += 1,
            }
        }
        let token = Token { start, end: self.at, escaped: true };
        self.at += 1;
        check_escapes(&self.bytes[token.start..token.end])?;
        Ok(token)
    }

    /// Whether a number starts here.
    #[inline]
    pub fn at_number(&self) -> bool {
        matches!(self.peek(), Some(b'-' | b'0'..=b'9'))
    }

    /// A number.
    #[inline]
    pub fn number(&mut self) -> Result<Number, Fault> {
        let start = self.at;
        if let Some(number) = Number::at(self.bytes, start) {
            self.at = number.end;
            return Ok(number);
        }
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let mut number = Number { start, end: 0, negative, mantissa: 0, exponent: 0, exact: true, integral: true };
        let first = self.at;
        self.digits(&mut number)?;
        if self.bytes[first] == b'0' && self.at > first + 1 {
            return Err(Fault::Syntax);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let point = self.at;
            self.digits(&mut number)?;
            number.exponent = -((self.at - point).min(1 << 20) as i32);
            number.integral = false;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.power(&mut number)?;
        }
        number.end = self.at;
        Ok(number)
    }

    #[inline]
    fn digits(&mut self, number: &mut Number) -> Result<(), Fault> {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            let next = number.mantissa.checked_mul(10).and_then(|m| m.checked_add(u64::from(digit - b'0')));
            match next {
                Some(mantissa) => number.mantissa = mantissa,
                None => number.exact = false,
            }
            self.at += 1;
        }
        if self.at == start { Err(Fault::Syntax) } else { Ok(()) }
    }

    fn power(&mut self, number: &mut Number) -> Result<(), Fault> {
        self.at += 1;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(matches!(self.peek(), Some(b'-' | b'+')));
        let start = self.at;
        let mut power: i32 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            power = power.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == start {
            return Err(Fault::Syntax);
        }
        number.exponent = number.exponent.saturating_add(if negative { -power } else { power });
        number.integral = false;
        Ok(())
    }

    /// Steps over `null`, if it stands here.
    pub fn null(&mut self) -> Result<bool, Fault> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.literal(b"null").map(|()| true)
    }

    fn literal(&mut self, text: &[u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(text) {
            return Err(Fault::Syntax);
        }
        self.at += text.len();
        Ok(())
    }

    /// Steps over any value that lies inside `depth` arrays and objects.
    pub fn skip_value(&mut self, depth: usize) -> Result<(), Fault> {
        // One bit an open level: set for an object.
        let mut levels = [0u64; MAX_DEPTH.div_ceil(64)];
        let mut open = 0usize;
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(c @ (b'{' | b'[')) => {
                    self.at += 1;
                    if depth + open >= MAX_DEPTH {
                        return Err(Fault::TooDeep);
                    }
                    let bit = 1u64 << (open % 64);
                    levels[open / 64] = if c == b'{' { levels[open / 64] | bit } else { levels[open / 64] & !bit };
                    open += 1;
                    self.skip_space();
                    let close = if c == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(close) {
                        if c == b'{' {
                            self.string()?;
                            self.colon()?;
                        }
                        continue;
                    }
                }
                _ => return Err(Fault::Syntax),
            }
            // A value has ended, or an empty array or object is about to.
            loop {
                if open == 0 {
                    return Ok(());
                }
                self.skip_space();
                let object = levels[(open - 1) / 64] >> ((open - 1) % 64) & 1 == 1;
                match (self.peek(), object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        if object {
                            self.skip_space();
                            self.string()?;
                            self.colon()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        open -= 1;
                    }
                    _ => return Err(Fault::Syntax),
                }
            }
        }
    }
}

fn check_escapes(text: &[u8]) -> Result<(), Fault> {
    // Rare enough that a scratch text is no cost.
    unescape(text, &mut Vec::with_capacity(text.len()))
}

/// Appends a string's text with its escapes resolved.
pub fn unescape(text: &[u8], into: &mut Vec<u8>) -> Result<(), Fault> {
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' {
            into.push(text[at]);
            at += 1;
            continue;
        }
        let plain = match text.get(at + 1) {
            Some(c @ (b'"' | b'\\' | b'/')) => *c,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                at = unicode(text, at, into)?;
                continue;
            }
            _ => return Err(Fault::Syntax),
        };
        into.push(plain);
        at += 2;
    }
    Ok(())
}

/// `\uXXXX`, or a surrogate pair of them; returns where the text goes on.
fn unicode(text: &[u8], at: usize, into: &mut Vec<u8>) -> Result<usize, Fault> {
    let high = hex(text, at)?;
    let (code, next) = match high {
        0xd800..=0xdbff => match hex(text, at + 6)? {
            low @ 0xdc00..=0xdfff => (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), at + 12),
            _ => return Err(Fault::Syntax),
        },
        _ => (high, at + 6),
    };
    let c = char::from_u32(code).ok_or(Fault::Syntax)?;
    into.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(next)
}

fn hex(text: &[u8], at: usize) -> Result<u32, Fault> {
    let digits = text.get(at..at + 6).filter(|d| d.starts_with(b"\\u")).ok_or(Fault::Syntax)?;
    digits[2..].iter().try_fold(0, |code, d| (*d as char).to_digit(16).map(|d| code * 16 + d).ok_or(Fault::Syntax))
}
