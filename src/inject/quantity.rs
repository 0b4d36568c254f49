//! Kubernetes quantities, as far as comparing them goes: the API server rewrites `0.5` as `500m`.

/// A quantity in units of 10^-9, so that every suffix from `n` to `Ei` is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(i128);

const UNIT: i128 = 1_000_000_000;

impl Quantity {
    /// Parses `<number><suffix>`; `None` if it is none, is negative, or is too large or too fine to be meant.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() + fraction.len() > 18 {
            return None;
        }
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scaled = digits.checked_mul(scale(suffix)?)?;
        let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        (scaled % divisor == 0).then_some(Self(scaled / divisor))
    }
}

/// One of `suffix`, in units of 10^-9.
fn scale(suffix: &str) -> Option<i128> {
    let decimal = |exponent: u32| 10_i128.checked_pow(exponent).and_then(|factor| factor.checked_mul(UNIT));
    let binary = |power: u32| 1024_i128.checked_pow(power).and_then(|factor| factor.checked_mul(UNIT));
    match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_i128.checked_pow(u32::try_from(exponent.checked_add(9)?).ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0.5", "500m")]
    #[case("1000m", "1")]
    #[case("1.0", "1")]
    #[case(".5", "500000u")]
    #[case("1024Ki", "1Mi")]
    #[case("1e3", "1k")]
    #[case("2E-3", "2m")]
    #[case("1.5Gi", "1536Mi")]
    #[case("128M", "128000000")]
    fn equal_quantities(#[case] one: &str, #[case] other: &str) {
        assert!(Quantity::parse(one).is_some());
        assert_eq!(Quantity::parse(one), Quantity::parse(other));
    }

    #[rstest]
    #[case("64Mi", "128Mi")]
    #[case("10m", "1")]
    #[case("1M", "1Mi")]
    #[case("999n", "1u")]
    fn ordered_quantities(#[case] less: &str, #[case] more: &str) {
        assert!(Quantity::parse(less).unwrap() < Quantity::parse(more).unwrap());
    }

    #[rstest]
    #[case("")]
    #[case(".")]
    #[case("m")]
    #[case("-1")]
    #[case("+1")]
    #[case("1 Gi")]
    #[case("1gi")]
    #[case("1..5")]
    #[case("1.5n")]
    #[case("1e99")]
    #[case("e3")]
    #[case("9999999999999999999")]
    #[case("１")]
    fn not_a_quantity(#[case] text: &str) {
        assert_eq!(Quantity::parse(text), None);
    }
}
