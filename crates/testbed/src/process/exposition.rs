//! Reads the text that `/metrics` answers with.

use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;
type Key = (String, Labels);

/// Every sample of one scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    samples: BTreeMap<Key, f64>,
}

impl Metrics {
    /// Reads the Prometheus text format. Comments and what cannot be read are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(sample);
        Self {
            samples: samples.collect(),
        }
    }

    /// The sample with this name and exactly these labels, in any order.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.samples
            .get(&(name.to_owned(), labels.collect()))
            .copied()
    }

    /// The sum of all samples with this name, whatever their labels; 0 when there is none.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.samples
            .iter()
            .filter(|((own, _), _)| own == name)
            .map(|(_, value)| value)
            .sum()
    }

    /// The names of all samples, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut last = None;
        let names = self.samples.keys().map(|(name, _)| name.as_str());
        names.filter(move |name| last.replace(*name) != Some(*name))
    }
}

fn sample(line: &str) -> Option<(Key, f64)> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = read_labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, Labels::new(), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(((name.trim().to_owned(), labels), value))
}

/// Reads `key="value",…}` and returns what follows it.
fn read_labels(mut text: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(key.to_owned(), value);
        text = rest.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let metrics = Metrics::parse(
            "# HELP forebay_x_total Things.\n# TYPE forebay_x_total counter\n\
             forebay_x_total{source=\"a\",code=\"no, \\\"route\\\"}\"} 3\n\
             forebay_x_total{source=\"b\",code=\"\"} 4.5 1700000000\n\
             forebay_seconds_bucket{le=\"+Inf\"} 7 # {id=\"1\"} 0.5\n\
             forebay_plain 1e3\n# EOF\n",
        );
        let odd = [("code", "no, \"route\"}"), ("source", "a")];
        assert_eq!(metrics.get("forebay_x_total", &odd), Some(3.0));
        assert_eq!(metrics.get("forebay_x_total", &[("source", "a")]), None);
        assert_eq!(metrics.sum("forebay_x_total"), 7.5);
        assert_eq!(
            metrics.get("forebay_seconds_bucket", &[("le", "+Inf")]),
            Some(7.0)
        );
        assert_eq!(metrics.get("forebay_plain", &[]), Some(1000.0));
        let names: Vec<&str> = metrics.names().collect();
        assert_eq!(
            names,
            ["forebay_plain", "forebay_seconds_bucket", "forebay_x_total"]
        );
    }
}
