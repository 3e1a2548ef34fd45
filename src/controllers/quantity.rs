//! Kubernetes quantities (`apimachinery/pkg/api/resource`): read, added, compared and written.

use std::fmt;

/// An amount in thousandths of the unit (milli-CPU, thousandths of a byte).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

/// Largest number of digits that is read: enough for any real amount, and far from an overflow.
const MAX_DIGITS: usize = 18;

impl Quantity {
    /// A whole number of units.
    pub const fn units(units: u32) -> Self {
        Self(units as i128 * 1000)
    }

    /// Reads a quantity such as `500m`, `2`, `1.5Gi` or `100M`. `None` for anything else, and for less than a
    /// thousandth of the unit.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        // Thousandths of the unit.
        let scale: i128 = match suffix {
            "m" => 1,
            "" => 1000,
            "k" => 1000 * 1000,
            "M" => 1000 * 1000_i128.pow(2),
            "G" => 1000 * 1000_i128.pow(3),
            "T" => 1000 * 1000_i128.pow(4),
            "P" => 1000 * 1000_i128.pow(5),
            "Ki" => 1000 << 10,
            "Mi" => 1000 << 20,
            "Gi" => 1000 << 30,
            "Ti" => 1000 << 40,
            "Pi" => 1000 << 50,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.len() + fraction.len();
        if digits == 0 || digits > MAX_DIGITS || fraction.contains('.') {
            return None;
        }
        let value: i128 = format!("{whole}{fraction}").parse().ok()?;
        let divisor = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        let scaled = value.checked_mul(scale)?;
        (scaled % divisor == 0).then_some(Self(scaled / divisor))
    }

    /// The sum of both.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1000 != 0 {
            return write!(f, "{}m", self.0);
        }
        let units = self.0 / 1000;
        // Small numbers are counts and CPUs; from a KiB on they are bytes.
        for (power, suffix) in [(50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if units != 0 && units % (1 << power) == 0 {
                return write!(f, "{}{suffix}", units >> power);
            }
        }
        write!(f, "{units}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), expect, "{text}");
        };
        check("500m", Some("500m"));
        check("1000m", Some("1"));
        check("0.5", Some("500m"));
        check("1.5Gi", Some("1536Mi"));
        check("1024Mi", Some("1Gi"));
        check("100M", Some("100000000"));
        check("0", Some("0"));
        for bad in ["", "m", "1x", "-1", "1..2", "1.2.3", "99999999999999999999", "0.0001"] {
            check(bad, None);
        }
    }

    #[test]
    fn sums_do_not_lose_thousandths() {
        let sum =
            ["100m", "1", "250m"].iter().filter_map(|q| Quantity::parse(q)).fold(Quantity::default(), Quantity::plus);
        assert_eq!(sum.to_string(), "1350m");
    }
}
