//! A snapshot as Prometheus reads it: the text exposition format, version 0.0.4.

use super::Snapshot;
use super::export::{Data, Family, Point, Value, seconds};
use std::fmt::{self, Display, Write};

impl Snapshot {
    /// The content type of what [`to_prometheus`](Snapshot::to_prometheus) returns.
    pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// All figures, for whatever answers a Prometheus server that asks for `/metrics`.
    ///
    /// Times are in seconds and memory in bytes, as the names say. `docs/metrics.md` lists them. The
    /// histograms are there if they are [on](crate::runtime::Builder::poll_time_histogram), of all workers
    /// together, with a bucket for each power of two of nanoseconds.
    ///
    /// One runtime's figures are one page: two of them under one address would use the same names.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for family in self.families() {
            // Writing to a string does not fail.
            let _ = write_family(&mut text, &family);
        }
        text
    }
}

fn write_family(text: &mut String, family: &Family) -> fmt::Result {
    let unit = match family.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let (kind, end) = match &family.data {
        Data::Counter(_) => ("counter", "_total"),
        Data::Gauge(_) => ("gauge", ""),
        Data::Histogram(_) => ("histogram", ""),
    };
    let name = family.name.replace('.', "_") + unit + end;
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    writeln!(text, "# HELP {name} {help}")?;
    writeln!(text, "# TYPE {name} {kind}")?;
    match &family.data {
        Data::Counter(points) | Data::Gauge(points) => {
            for Point { labels, value } in points {
                writeln!(text, "{name}{} {value}", Labels(labels))?;
            }
        }
        Data::Histogram(histogram) => {
            let mut below = 0;
            for (bound, count) in histogram.powers() {
                below += count;
                writeln!(text, "{name}_bucket{{le=\"{}\"}} {below}", seconds(bound))?;
            }
            let count = histogram.count();
            writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}")?;
            writeln!(text, "{name}_sum {}", histogram.sum().as_secs_f64())?;
            writeln!(text, "{name}_count {count}")?;
        }
    }
    Ok(())
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(count) => count.fmt(f),
            Value::Seconds(seconds) => seconds.fmt(f),
        }
    }
}

/// In braces, with what would end a value early escaped.
struct Labels<'a>(&'a [(&'static str, String)]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "{" } else { "," })?;
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
        }
        f.write_str(if self.0.is_empty() { "" } else { "}" })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::metrics::Recorder;

    fn family(data: Data) -> String {
        let mut text = String::new();
        let family = Family {
            name: "libruntime.some.thing".into(),
            help: "One line\nor \\ two.",
            unit: "s",
            data,
        };
        write_family(&mut text, &family).unwrap();
        text
    }

    #[test]
    fn help_and_labels_are_escaped_and_units_are_in_the_name() {
        let point = Point {
            labels: vec![("a", "x".into()), ("class", "a \"b\" \\ c\nd".into())],
            value: Value::Seconds(1.5e-7),
        };
        assert_eq!(
            family(Data::Counter(vec![point])),
            "# HELP libruntime_some_thing_seconds_total One line\\nor \\\\ two.\n\
             # TYPE libruntime_some_thing_seconds_total counter\n\
             libruntime_some_thing_seconds_total{a=\"x\",class=\"a \\\"b\\\" \\\\ c\\nd\"} 0.00000015\n"
        );
    }

    #[test]
    fn buckets_of_a_histogram_count_all_that_is_no_longer() {
        let recorder = Recorder::new();
        for nanos in [10, 64, 65, 128, 129, 1 << 40, 1 << 41] {
            recorder.record(nanos);
        }
        let text = family(Data::Histogram(recorder.read()));
        let counts: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let name = "libruntime_some_thing_seconds";
        for (line, bound, count) in [
            (0, "0.000000064", 2),
            (1, "0.000000128", 4),
            (2, "0.000000256", 5),
            (33, "549.755813888", 5),
            (34, "1099.511627776", 6),
            (35, "+Inf", 7),
        ] {
            let bucket = format!("{name}_bucket{{le=\"{bound}\"}} {count}");
            assert_eq!(counts[line], bucket);
        }
        assert_eq!(counts[36], format!("{name}_sum 3298.534883724"));
        assert_eq!(counts[37..], [format!("{name}_count 7")]);
    }
}
