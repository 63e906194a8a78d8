//! `Retry-After`.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap,
    header::{DATE, HeaderName, RETRY_AFTER},
};

/// How long the server wants to be left alone, if it says so.
///
/// A date is compared with the server's own, so that its clock need not agree with ours. Of
/// several lines, as where a gateway adds its own, the longest wait counts.
pub(super) fn retry_after(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<Duration> {
    let lines = headers.get_all(RETRY_AFTER).iter();
    let waits = lines.filter_map(|line| wait(line.to_str().ok()?.trim(), headers, &now));
    waits.max()
}

fn wait(told: &str, headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<Duration> {
    if !told.is_empty() && told.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(told.parse().unwrap_or(u64::MAX)));
    }
    let then = httpdate::parse_http_date(told).ok()?;
    let now = date(headers, DATE).unwrap_or_else(now);
    Some(then.duration_since(now).unwrap_or_default())
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let date = headers.get(name)?.to_str().ok()?;
    httpdate::parse_http_date(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const DAY: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

    fn told(value: &'static str, date: Option<&'static str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        let ours = "Wed, 21 Oct 2015 07:27:00 GMT";
        retry_after(&headers, || httpdate::parse_http_date(ours).unwrap())
    }

    #[test]
    fn seconds() {
        assert_eq!(told("0", None), Some(Duration::ZERO));
        assert_eq!(told(" 120 ", None), Some(Duration::from_secs(120)));
        let huge = "99999999999999999999999";
        assert_eq!(told(huge, None), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn a_date_by_the_clock_of_the_server_or_else_by_ours() {
        let server = Some("Wed, 21 Oct 2015 07:27:57 GMT");
        assert_eq!(told(DAY, server), Some(Duration::from_secs(3)));
        assert_eq!(told(DAY, None), Some(Duration::from_secs(60)));
        assert_eq!(told(DAY, Some("today")), Some(Duration::from_secs(60)));
        let past = Some("Wed, 21 Oct 2015 07:28:01 GMT");
        assert_eq!(told(DAY, past), Some(Duration::ZERO));
    }

    #[test]
    fn of_several_lines_the_longest_counts() {
        for lines in [["1", "30"], ["30", "1"], ["soon", "30"], [DAY, "30"]] {
            let fields = lines.map(|line| (RETRY_AFTER, HeaderValue::from_static(line)));
            let now = || httpdate::parse_http_date(DAY).unwrap();
            let told = retry_after(&fields.into_iter().collect(), now);
            assert_eq!(told, Some(Duration::from_secs(30)), "{lines:?}");
        }
    }

    #[test]
    fn nonsense_says_nothing() {
        for value in ["", " ", "soon", "-1", "1.5", "+1", "1 2"] {
            assert_eq!(told(value, None), None, "{value:?}");
        }
        assert_eq!(
            retry_after(&HeaderMap::new(), || SystemTime::UNIX_EPOCH),
            None
        );
    }
}
