//! What a conversation query asks for: an interval, and filters whose predicates it must meet.

use jiff::Timestamp;
use serde_json::Value;

use super::answer::Refusal;

/// What can be asked of a conversation as a whole.
const CONVERSATION: &[&str] = &[
    "conferenceStart",
    "conversationEnd",
    "conversationId",
    "conversationInitiator",
    "conversationStart",
    "customerParticipation",
    "divisionId",
    "externalTag",
    "originatingDirection",
];
/// What can be asked of its participants, sessions and segments.
const SEGMENT: &[&str] = &[
    "ani",
    "direction",
    "disconnectType",
    "dnis",
    "flowId",
    "mediaType",
    "provider",
    "purpose",
    "queueId",
    "segmentType",
    "sessionId",
    "userId",
    "wrapUpCode",
];

/// `from/to`, the end not included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    from: Timestamp,
    to: Timestamp,
}

impl Interval {
    pub(super) fn of(body: &Value) -> Result<Self, Refusal> {
        let text = body.get("interval").and_then(Value::as_str);
        let text = text.ok_or_else(|| Refusal::bad_request("An interval is required."))?;
        let parsed = text.split_once('/');
        let parsed = parsed.and_then(|(from, to)| Some((time(from)?, time(to)?)));
        let (from, to) = parsed.ok_or_else(|| {
            Refusal::new(
                400,
                "invalid.date",
                format!(
                    "Dates must be specified as ISO-8601 strings. For example: \
                     yyyy-MM-ddTHH:mm:ss.SSSZ: {text}"
                ),
            )
        })?;
        if from >= to {
            return Err(Refusal::bad_request(format!(
                "The interval must end after it starts: {text}"
            )));
        }
        Ok(Self { from, to })
    }

    /// Whether a conversation had activity within it.
    pub(super) fn touches(self, start: Timestamp, end: Option<Timestamp>) -> bool {
        start < self.to && end.is_none_or(|end| end >= self.from)
    }
}

/// A time with an offset, or without one in UTC.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let zoned = text.parse().ok();
    zoned.or_else(|| format!("{text}Z").parse().ok())
}

/// All filters of a query.
#[derive(Debug)]
pub(super) struct Filters(Vec<Filter>);

#[derive(Debug)]
struct Filter {
    /// Whether one predicate is enough.
    any: bool,
    predicates: Vec<Predicate>,
    clauses: Vec<Filter>,
}

#[derive(Debug)]
struct Predicate {
    of_segments: bool,
    dimension: String,
    operator: Operator,
    value: String,
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Matches,
    Exists,
    NotExists,
}

impl Filters {
    /// Those of `conversationFilters` and `segmentFilters`.
    pub(super) fn of(body: &Value) -> Result<Self, Refusal> {
        let mut filters = list(body, "conversationFilters", false)?;
        filters.extend(list(body, "segmentFilters", true)?);
        Ok(Self(filters))
    }

    pub(super) fn keep(&self, conversation: &Value) -> bool {
        self.0.iter().all(|it| it.keeps(conversation))
    }
}

impl Filter {
    fn parse(value: &Value, of_segments: bool) -> Result<Self, Refusal> {
        let any = match value.get("type").and_then(Value::as_str) {
            Some("or") => true,
            Some("and") => false,
            _ => return Err(Refusal::bad_request("A filter's type is and or or.")),
        };
        let predicates = entries(value, "predicates")?.iter();
        let predicates = predicates
            .map(|it| Predicate::parse(it, of_segments))
            .collect::<Result<Vec<_>, _>>()?;
        let clauses = list(value, "clauses", of_segments)?;
        if predicates.is_empty() && clauses.is_empty() {
            return Err(Refusal::bad_request("A filter has no predicate."));
        }
        Ok(Self {
            any,
            predicates,
            clauses,
        })
    }

    fn keeps(&self, conversation: &Value) -> bool {
        let predicates = self.predicates.iter().map(|it| it.holds(conversation));
        let mut all = predicates.chain(self.clauses.iter().map(|it| it.keeps(conversation)));
        if self.any {
            all.any(|it| it)
        } else {
            all.all(|it| it)
        }
    }
}

impl Predicate {
    fn parse(value: &Value, of_segments: bool) -> Result<Self, Refusal> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let dimension = text("dimension").unwrap_or_default();
        let known = if of_segments { SEGMENT } else { CONVERSATION };
        if !known.contains(&dimension) {
            return Err(Refusal::new(
                400,
                "invalid.value",
                format!(
                    "Value [{dimension}] is not valid for field type [dimension]. Allowable \
                     values are: {}",
                    known.join(", ")
                ),
            ));
        }
        let operator = match text("operator") {
            None | Some("matches") => Operator::Matches,
            Some("exists") => Operator::Exists,
            Some("notExists") => Operator::NotExists,
            Some(other) => {
                return Err(Refusal::bad_request(format!("Unknown operator [{other}].")));
            }
        };
        let value = text("value");
        if matches!(operator, Operator::Matches) && value.is_none() {
            let what = format!("The predicate of {dimension} has no value.");
            return Err(Refusal::bad_request(what));
        }
        Ok(Self {
            of_segments,
            dimension: dimension.to_owned(),
            operator,
            value: value.unwrap_or_default().to_owned(),
        })
    }

    fn holds(&self, conversation: &Value) -> bool {
        let mut values = Vec::new();
        if self.of_segments {
            within(conversation, &self.dimension, &mut values);
        } else if self.dimension == "divisionId" {
            let ids = conversation.get("divisionIds").and_then(Value::as_array);
            values.extend(ids.into_iter().flatten());
        } else {
            values.extend(conversation.get(&self.dimension));
        }
        match self.operator {
            Operator::Matches => values.iter().any(|it| it.as_str() == Some(&self.value)),
            Operator::Exists => !values.is_empty(),
            Operator::NotExists => values.is_empty(),
        }
    }
}

/// What the participants, sessions and segments of a conversation have of a dimension.
fn within<'a>(value: &'a Value, dimension: &str, found: &mut Vec<&'a Value>) {
    for level in ["participants", "sessions", "segments"] {
        let entries = value.get(level).and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            found.extend(entry.get(dimension));
            within(entry, dimension, found);
        }
    }
}

fn list(value: &Value, name: &str, of_segments: bool) -> Result<Vec<Filter>, Refusal> {
    let filters = entries(value, name)?.iter();
    filters.map(|it| Filter::parse(it, of_segments)).collect()
}

fn entries<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], Refusal> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(Refusal::bad_request(format!("{name} must be a list."))),
    }
}
