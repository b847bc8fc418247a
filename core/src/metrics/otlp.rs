//! A snapshot as OpenTelemetry's collectors read it: an `ExportMetricsServiceRequest` in the JSON of the
//! OpenTelemetry protocol, version 1.
//!
//! By that mapping numbers of 64 bits are strings, and enumerations numbers.

use super::export::{Data, Family, Point, Value, seconds};
use super::{Histogram, Snapshot};
use std::fmt::{self, Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`: since the runtime began.
const CUMULATIVE: u32 = 2;

impl Snapshot {
    /// All figures, for whatever posts them to a collector's `/v1/metrics` as `application/json`.
    ///
    /// `resource` says what they are of, by the names that OpenTelemetry has for that: `service.name`, and
    /// whatever tells one process or runtime from another. Times are in seconds and memory in bytes. The
    /// histograms are there if they are [on](crate::runtime::Builder::poll_time_histogram), of all workers
    /// together, with a bucket for each power of two of nanoseconds.
    ///
    /// ```
    /// # let runtime = libruntime_core::runtime::Builder::new().worker_threads(1).build()?;
    /// let body = runtime.metrics().to_otlp_json(&[("service.name", "shop")]);
    /// assert!(body.starts_with(r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name""#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_otlp_json(&self, resource: &[(&str, &str)]) -> String {
        let mut json = String::new();
        // Writing to a string does not fail.
        let _ = self.write_request(&mut json, resource);
        json
    }

    fn write_request(&self, json: &mut String, resource: &[(&str, &str)]) -> fmt::Result {
        let times = Times {
            began: nanos(self.started_at()),
            now: nanos(self.taken_at()),
        };
        json.write_str(r#"{"resourceMetrics":[{"resource":{"attributes":"#)?;
        write_attributes(json, resource.iter().copied())?;
        write!(
            json,
            r#"}},"scopeMetrics":[{{"scope":{{"name":"libruntime","version":{}}},"metrics":"#,
            Text(env!("CARGO_PKG_VERSION"))
        )?;
        write_list(json, self.families(), |json, family| {
            write_metric(json, &family, times)
        })?;
        json.write_str("}]}]}")
    }
}

/// In nanoseconds since 1970: when the runtime was made, and when the snapshot was.
#[derive(Clone, Copy)]
struct Times {
    began: u128,
    now: u128,
}

fn nanos(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

fn write_metric(json: &mut String, family: &Family, times: Times) -> fmt::Result {
    let (name, help, unit) = (Text(&family.name), Text(family.help), Text(family.unit));
    write!(
        json,
        r#"{{"name":{name},"description":{help},"unit":{unit},"#
    )?;
    match &family.data {
        Data::Counter(points) => {
            write!(
                json,
                r#""sum":{{"aggregationTemporality":{CUMULATIVE},"isMonotonic":true,"dataPoints":"#
            )?;
            write_list(json, points, |json, point| write_point(json, point, times))?;
        }
        Data::Gauge(points) => {
            json.write_str(r#""gauge":{"dataPoints":"#)?;
            write_list(json, points, |json, point| write_point(json, point, times))?;
        }
        Data::Histogram(histogram) => {
            write!(
                json,
                r#""histogram":{{"aggregationTemporality":{CUMULATIVE},"dataPoints":["#
            )?;
            write_histogram(json, histogram, times)?;
            json.write_char(']')?;
        }
    }
    json.write_str("}}")
}

fn write_times(json: &mut String, times: Times) -> fmt::Result {
    let Times { began, now } = times;
    write!(
        json,
        r#""startTimeUnixNano":"{began}","timeUnixNano":"{now}","#
    )
}

fn write_point(json: &mut String, point: &Point, times: Times) -> fmt::Result {
    json.write_str(r#"{"attributes":"#)?;
    let labels = point.labels.iter();
    write_attributes(json, labels.map(|(name, value)| (*name, &**value)))?;
    json.write_char(',')?;
    write_times(json, times)?;
    match point.value {
        Value::Count(count) => write!(json, r#""asInt":"{count}"}}"#),
        Value::Seconds(seconds) => write!(json, r#""asDouble":{seconds}}}"#),
    }
}

fn write_histogram(json: &mut String, histogram: &Histogram, times: Times) -> fmt::Result {
    json.write_char('{')?;
    write_times(json, times)?;
    let (count, sum) = (histogram.count(), histogram.sum().as_secs_f64());
    write!(json, r#""count":"{count}","sum":{sum},"#)?;
    if count > 0 {
        write!(json, r#""max":{},"#, histogram.max().as_secs_f64())?;
    }
    json.write_str(r#""explicitBounds":"#)?;
    write_list(json, histogram.powers(), |json, (bound, _)| {
        write!(json, "{}", seconds(bound))
    })?;
    json.write_str(r#","bucketCounts":"#)?;
    // One more than there are bounds.
    let counts: Vec<u64> = histogram.powers().map(|(_, count)| count).collect();
    let beyond = count - counts.iter().sum::<u64>();
    write_list(json, counts.into_iter().chain([beyond]), |json, count| {
        write!(json, r#""{count}""#)
    })?;
    json.write_char('}')
}

fn write_attributes<'a>(
    json: &mut String,
    attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> fmt::Result {
    write_list(json, attributes, |json, (name, value)| {
        let (name, value) = (Text(name), Text(value));
        write!(
            json,
            r#"{{"key":{name},"value":{{"stringValue":{value}}}}}"#
        )
    })
}

fn write_list<T>(
    json: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T) -> fmt::Result,
) -> fmt::Result {
    json.write_char('[')?;
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            json.write_char(',')?;
        }
        write(json, item)?;
    }
    json.write_char(']')
}

/// A JSON string.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let text = Text("a \"b\" \\ c\nd\u{1} \u{e9}").to_string();
        assert_eq!(text, "\"a \\\"b\\\" \\\\ c\\u000ad\\u0001 \u{e9}\"");
    }

    #[test]
    fn list_of_nothing_has_its_brackets() {
        let mut json = String::new();
        write_attributes(&mut json, []).unwrap();
        assert_eq!(json, "[]");
    }

    #[test]
    fn time_before_1970_is_none() {
        let second = std::time::Duration::from_secs(1);
        assert_eq!(nanos(UNIX_EPOCH - second), 0);
        assert_eq!(nanos(UNIX_EPOCH + second), 1_000_000_000);
    }
}
