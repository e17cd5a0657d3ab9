//! JSON values as they stand in a record: what they are, and what they say.

use std::borrow::Cow;

use jiff::civil::Date;

/// Integers up to here are exact as a DOUBLE; a column of fractions with a larger one is text.
const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
const EPOCH: Date = jiff::civil::date(1970, 1, 1);
const DAY_SECONDS: i64 = 86_400;
/// Digits of a second that microseconds can hold.
const FRACTION_DIGITS: usize = 6;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` and `false`.
    Bool,
    /// Integers that fit 64 bits.
    Integer,
    /// Numbers, some with a fraction or an exponent.
    Number,
    /// Days like `2026-03-03`.
    Day,
    /// Moments like `2026-03-03T07:00:01Z`, with up to six digits after the point.
    Moment,
    /// Texts, other scalars, or both.
    Text,
    /// JSON text.
    Json,
}

/// Everything that values at one place have been, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence(u16);

impl Evidence {
    pub(super) const OBJECT: Self = Self(1);
    const NULL: Self = Self(1 << 1);
    const ARRAY: Self = Self(1 << 2);
    const BOOL: Self = Self(1 << 3);
    const INTEGER: Self = Self(1 << 4);
    /// An integer that a DOUBLE may not hold exactly.
    const LARGE: Self = Self(1 << 5);
    const FRACTION: Self = Self(1 << 6);
    /// A number that no type holds.
    const HUGE: Self = Self(1 << 7);
    const DAY: Self = Self(1 << 8);
    const MOMENT: Self = Self(1 << 9);
    const TEXT: Self = Self(1 << 10);

    /// Adds a value to the set.
    pub(super) fn add(&mut self, raw: &str) {
        // What is text already stays text, whatever other texts look like.
        if !(raw.starts_with('"') && self.has(Self::TEXT)) {
            self.0 |= Self::of(raw).0;
        }
    }

    fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'{') => Self::OBJECT,
            Some(b'[') => Self::ARRAY,
            Some(b'"') if day(inside(raw)).is_some() => Self::DAY,
            Some(b'"') if moment(inside(raw)).is_some() => Self::MOMENT,
            Some(b'"') => Self::TEXT,
            Some(b't' | b'f') => Self::BOOL,
            Some(b'n') | None => Self::NULL,
            Some(_) => match integer(raw) {
                Some(integer) if integer.unsigned_abs() > EXACT_MAX => Self::LARGE,
                Some(_) => Self::INTEGER,
                None if raw.contains(['.', 'e', 'E']) && number(raw).is_some() => Self::FRACTION,
                None => Self::HUGE,
            },
        }
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn within(self, sets: &[Self]) -> bool {
        self.0 & !sets.iter().fold(Self::NULL.0, |all, set| all | set.0) == 0
    }

    /// Whether values at this place go into one column, and not into one for each of their members.
    pub(super) fn is_one_column(self) -> bool {
        !self.has(Self::OBJECT) || !self.within(&[Self::OBJECT])
    }

    /// What a column of such values holds.
    pub(super) fn kind(self) -> Kind {
        if self.has(Self::ARRAY) || self.has(Self::OBJECT) {
            Kind::Json
        } else if self.within(&[]) {
            // Only nulls, so nothing is known.
            Kind::Text
        } else if self.within(&[Self::BOOL]) {
            Kind::Bool
        } else if self.within(&[Self::INTEGER, Self::LARGE]) {
            Kind::Integer
        } else if self.within(&[Self::INTEGER, Self::FRACTION]) {
            Kind::Number
        } else if self.within(&[Self::DAY]) {
            Kind::Day
        } else if self.within(&[Self::MOMENT]) {
            Kind::Moment
        } else {
            Kind::Text
        }
    }
}

/// A string without its quotes and escapes, anything else as it is written.
pub(super) fn plain(raw: &str) -> Cow<'_, str> {
    if raw.starts_with('"') { text(raw) } else { Cow::Borrowed(raw) }
}

/// What a JSON string says. One that no text can hold, as half a surrogate pair, stays escaped.
pub(super) fn text(raw: &str) -> Cow<'_, str> {
    let inside = inside(raw);
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(inside), Cow::Owned)
}

/// What stands between the quotes of a JSON string.
pub(super) fn inside(raw: &str) -> &str {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

pub(super) fn integer(raw: &str) -> Option<i64> {
    raw.parse().ok()
}

/// The nearest DOUBLE.
pub(super) fn number(raw: &str) -> Option<f64> {
    raw.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Days since 1970 of a text like `2026-03-03`.
pub(super) fn day(text: &str) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else { return None };
    let year = digits([*y1, *y2, *y3, *y4])?;
    let (month, day) = (digits([*m1, *m2])?, digits([*d1, *d2])?);
    let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    i32::try_from(date.ok()?.duration_since(EPOCH).as_secs() / DAY_SECONDS).ok()
}

/// Microseconds since 1970 of a text like `2026-03-03T07:00:01Z` or `2026-03-03T07:00:01.000Z`.
pub(super) fn moment(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_at_checked(10)?;
    let [b'T', h1, h2, b':', m1, m2, b':', s1, s2, fraction @ ..] = time.as_bytes() else { return None };
    let (hour, minute, second) = (digits([*h1, *h2])?, digits([*m1, *m2])?, digits([*s1, *s2])?);
    // A leap second has no place in a count of seconds.
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match fraction {
        [] => 0,
        [b'.', digits_given @ ..] if (1..=FRACTION_DIGITS).contains(&digits_given.len()) => {
            let mut padded = [b'0'; FRACTION_DIGITS];
            padded[..digits_given.len()].copy_from_slice(digits_given);
            digits(padded)?
        }
        _ => return None,
    };
    let seconds = i64::from(day(date)?) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

fn digits<const N: usize>(bytes: [u8; N]) -> Option<i64> {
    bytes
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expect: Kind) {
        let mut evidence = Evidence::default();
        for value in values {
            evidence.add(value);
        }
        assert_eq!(evidence.kind(), expect, "{values:?}");
    }

    #[test]
    fn a_column_has_the_narrowest_type_that_holds_every_value() {
        check(&["true", "null", "false"], Kind::Bool);
        check(&["true", "1"], Kind::Text);
        check(&["1", "-0", "9223372036854775807", "-9223372036854775808"], Kind::Integer);
        check(&["1", "9223372036854775808"], Kind::Text);
        check(&["1", "0.10"], Kind::Number);
        check(&["1.0"], Kind::Number);
        check(&["1e3", "2E-3", "-1.5"], Kind::Number);
        check(&["0.5", "1e400"], Kind::Text);
        check(&["0.5", "9007199254740992"], Kind::Number);
        check(&["0.5", "9007199254740993"], Kind::Text);
        check(&["1", "\"1\""], Kind::Text);
        check(&["\"2026-03-03\"", "null", "\"2024-02-29\""], Kind::Day);
        check(&["\"2026-03-03\"", "\"2026-02-29\""], Kind::Text);
        check(&["\"2026-03-03\"", "\"\""], Kind::Text);
        check(&["\"2026-03-03T07:00:01Z\"", "\"2026-03-03T07:00:01.000Z\""], Kind::Moment);
        check(&["\"2026-03-03T07:00:01Z\"", "\"2026-03-03\""], Kind::Text);
        check(&["\"2026-03-03T07:00:01+00:00\""], Kind::Text);
        check(&["\"x\"", "\"2026-03-03\""], Kind::Text);
        check(&["null"], Kind::Text);
        check(&["[]", "null"], Kind::Json);
        check(&["[]", "\"x\""], Kind::Json);
        check(&["{}", "1"], Kind::Json);
    }

    #[test]
    fn days_and_moments_are_counted_from_1970() {
        assert_eq!(day("1970-01-01"), Some(0));
        assert_eq!(day("2026-03-03"), Some(20_515));
        assert_eq!(day("1969-12-31"), Some(-1));
        assert_eq!(day("9999-12-31"), Some(2_932_896));
        for bad in ["2026-3-03", "2026-02-30", "+026-03-03", "2026-03-03 ", "2026/03/03", "２026-03"] {
            assert_eq!(day(bad), None, "{bad}");
        }
        assert_eq!(moment("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(moment("2026-03-03T07:00:01Z"), Some(1_772_521_201_000_000));
        assert_eq!(moment("2026-03-03T07:00:01.5Z"), Some(1_772_521_201_500_000));
        assert_eq!(moment("1969-12-31T23:59:59.999999Z"), Some(-1));
        assert!(moment("9999-12-31T23:59:59Z").is_some());
        for bad in [
            "2026-03-03T24:00:00Z",
            "2026-03-03T23:59:60Z",
            "2026-03-03T07:00:01.Z",
            "2026-03-03T07:00:01.1234567Z",
            "2026-03-03T07:00:01.12-Z",
            "2026-03-03t07:00:01Z",
            "2026-03-03T07:00:01z",
            "2026-03-03T07:00Z",
            "2026-03-0é07:00:01Z",
            "Z",
        ] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    #[test]
    fn strings_lose_their_quotes_and_escapes() {
        assert_eq!(plain(r#""a\n\"b\" \u00e9\ud83d\ude00 é""#), "a\n\"b\" é😀 é");
        assert_eq!(plain(r#""half a pair: \ud83d\n""#), r"half a pair: \ud83d\n");
        assert_eq!(plain("0.10"), "0.10");
        assert_eq!(plain("true"), "true");
    }
}
