//! `aws-sns`: Amazon SNS over HTTP (docs.aws.amazon.com, "Verifying the signatures of Amazon SNS messages"): an RSA
//! signature in the body, over some of its fields, made with a key whose certificate SNS publishes.
//!
//! Anybody with an AWS account can have SNS sign something and send it here, so only topics that are named count.
//! A subscription is confirmed by fetching its `SubscribeURL`, once its message is verified.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use serde::Deserialize;

use super::certificate::{Certificates, Hash, place};
use super::{
    About, CannotSign, Consumed, Handshake, Identity, KeyDoc, Received, Refusal, Sample, Scheme,
    Secrets, Sender, Signed, Unsigned,
};

pub(super) const ABOUT: About = About {
    dedup: "`MessageId` in the body",
    handshake: "`SubscriptionConfirmation`: its `SubscribeURL` is fetched",
    sender: Sender::new(
        15,
        "3 more tries, 20 s apart, unless the topic's delivery policy says otherwise",
        120,
    ),
    keys: &[KeyDoc::new(
        "topics",
        "list of strings",
        "at least one",
        "The ARNs of the topics whose messages are taken. `*` at the end stands for the rest.",
        "",
    )],
    least: "topics = [\"arn:aws:sns:us-east-1:123456789012:topic\"]",
    guessable: false,
    ..About::new(
        "aws-sns",
        "Amazon SNS: the RSA signature in the body, of version 1 or 2, from one of the named topics. Certificates and confirmations are fetched from `sns.*.amazonaws.com` alone.",
    )
};

/// The topics that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Their ARNs.
    topics: Vec<String>,
}

impl Secrets for Options {
    fn secrets(&self) -> (&[Secret], &[std::path::PathBuf]) {
        (&[], &[])
    }
}

/// A message as SNS posts it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(rename = "Type")]
    kind: String,
    message_id: String,
    topic_arn: String,
    message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    subject: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    token: Option<String>,
}

impl Message {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|_| Refusal::Missing)
    }

    fn is_notification(&self) -> bool {
        self.kind == "Notification"
    }

    /// Whether every field but the text is one line, as SNS makes them. Else one signature would fit several messages:
    /// a stranger could write lines into the text of theirs that are then read as fields.
    fn is_in_lines(&self) -> bool {
        let optional = [&self.subject, &self.subscribe_url, &self.token];
        let always = [
            &self.kind,
            &self.message_id,
            &self.topic_arn,
            &self.timestamp,
        ];
        let mut all = always.into_iter().chain(optional.into_iter().flatten());
        all.all(|field| !field.contains('\n'))
    }

    /// What is signed: the fields of its kind that are there, by name, each with a line for its name and one for its
    /// value.
    fn signed(&self) -> String {
        let notification = self.is_notification();
        let of = |notifications, value| (notification == notifications).then_some(value).flatten();
        let fields = [
            ("Message", Some(self.message.as_str())),
            ("MessageId", Some(&*self.message_id)),
            ("Subject", of(true, self.subject.as_deref())),
            ("SubscribeURL", of(false, self.subscribe_url.as_deref())),
            ("Timestamp", Some(&*self.timestamp)),
            ("Token", of(false, self.token.as_deref())),
            ("TopicArn", Some(&*self.topic_arn)),
            ("Type", Some(&*self.kind)),
        ];
        let there = fields
            .iter()
            .filter_map(|(name, value)| Some((name, (*value)?)));
        there
            .flat_map(|(name, value)| [*name, "\n", value, "\n"])
            .collect()
    }
}

/// Whether a host is one of SNS's: `sns.REGION.amazonaws.com`, and China's.
fn is_sns(host: &str) -> bool {
    let region = host.strip_prefix("sns.").and_then(|rest| {
        let rest = rest.strip_suffix(".cn").unwrap_or(rest);
        rest.strip_suffix(".amazonaws.com")
    });
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // Behind S3's names `sns` would be a bucket, and anybody's.
    region.is_some_and(|region| {
        !region.is_empty() && !region.starts_with("s3") && region.bytes().all(plain)
    })
}

/// Whether a certificate may be looked for there.
fn is_certificate(url: &str) -> bool {
    place(url).is_some_and(|(host, path)| {
        let name = path.strip_prefix("/SimpleNotificationService-");
        let name = name.and_then(|rest| rest.strip_suffix(".pem"));
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_sns(host) && name.is_some_and(plain)
    })
}

/// Whether a subscription may be confirmed there.
fn is_confirmation(url: &str) -> bool {
    let address = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split_once("/?"));
    address.is_some_and(|(host, query)| {
        is_sns(host) && query.starts_with("Action=ConfirmSubscription&") && !query.contains('#')
    })
}

/// The scheme.
#[derive(Debug)]
pub(super) struct Sns {
    topics: Vec<String>,
    certificates: Certificates,
}

impl Sns {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        if options.topics.is_empty() {
            return Err("topics must name at least one: anybody with an AWS account can have SNS sign something".into());
        }
        if let Some(topic) = options
            .topics
            .iter()
            .find(|topic| !topic.starts_with("arn:"))
        {
            return Err(format!(
                "topics: {topic:?} is no ARN, as \"arn:aws:sns:us-east-1:123456789012:topic\" is"
            ));
        }
        Ok(Self {
            topics: options.topics.clone(),
            certificates: Certificates::default(),
        })
    }

    fn is_ours(&self, topic: &str) -> bool {
        let is_it = |known: &String| match known.strip_suffix('*') {
            Some(beginning) => topic.starts_with(beginning),
            None => known == topic,
        };
        self.topics.iter().any(is_it)
    }

    /// What can be said before the certificate is there.
    fn may_be_ours(&self, message: &Message) -> Result<(), Refusal> {
        if !self.is_ours(&message.topic_arn) {
            return Err(Refusal::Foreign);
        }
        if !message.is_in_lines() || !is_certificate(&message.signing_cert_url) {
            return Err(Refusal::Malformed);
        }
        Ok(())
    }

    fn check(&self, message: &Message) -> Result<(), Refusal> {
        self.may_be_ours(message)?;
        let hash = match &*message.signature_version {
            "1" => Hash::Sha1,
            "2" => Hash::Sha256,
            _ => return Err(Refusal::Malformed),
        };
        let signature = STANDARD.decode(&message.signature);
        let signature = signature.map_err(|_| Refusal::Malformed)?;
        let (url, signed) = (&message.signing_cert_url, message.signed());
        self.certificates
            .check(url, hash, signed.as_bytes(), &signature)
    }
}

impl Scheme for Sns {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn wants(&self, request: &Received<'_>) -> Result<Option<String>, Refusal> {
        let message = Message::read(request.body)?;
        self.may_be_ours(&message)?;
        let url = message.signing_cert_url;
        Ok(Some(url).filter(|url| !self.certificates.has(url)))
    }

    fn learn(&self, place: &str, certificate: &[u8]) -> Result<(), String> {
        self.certificates.learn(place, certificate)
    }

    fn handshake(&self, request: &Received<'_>) -> Option<Handshake> {
        let message = Message::read(request.body).ok()?;
        if message.is_notification() {
            return None;
        }
        if let Err(refusal) = self.check(&message) {
            return Some(Handshake::Refused(refusal));
        }
        let url = message.subscribe_url.filter(|url| is_confirmation(url));
        Some(match (&*message.kind, url) {
            ("SubscriptionConfirmation", Some(url)) => Handshake::Confirm(url),
            // It holds an address that would subscribe again, and is nobody's event.
            ("UnsubscribeConfirmation", _) => Handshake::Ended,
            _ => Handshake::Refused(Refusal::Malformed),
        })
    }

    fn verify(&self, request: &Received<'_>) -> Result<Consumed, Refusal> {
        let message = Message::read(request.body)?;
        if !message.is_notification() {
            return Err(Refusal::Malformed);
        }
        self.check(&message)?;
        Ok(Consumed::Nothing)
    }

    fn identify(&self, request: &Received<'_>) -> Identity {
        let message = Message::read(request.body);
        message.map_or_else(
            |_| Identity::default(),
            |message| Identity::of(Some(&message.message_id), Some(&message.kind)),
        )
    }

    fn sign(&self, _: &Unsigned<'_>) -> Result<Signed, CannotSign> {
        Err(CannotSign)
    }

    fn sample(&self, id: &str, text: &str) -> Sample {
        Sample::json(&serde_json::json!({
            "Type": "Notification",
            "MessageId": id,
            "TopicArn": self.topics[0],
            "Message": text,
            "Timestamp": "2026-01-31T12:00:00.000Z",
        }))
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Case;
    use super::super::certificate::tests::Sender;
    use super::*;

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:calls";
    const CERTIFICATE: &str =
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem";
    const CONFIRM: &str = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:123456789012:calls&Token=2336";

    fn scheme(topics: &[&str]) -> Result<Sns, String> {
        let options = serde_json::json!({ "topics": topics });
        Sns::new(&serde_json::from_value(options).unwrap())
    }

    fn message(kind: &str) -> serde_json::Value {
        let mut message = serde_json::json!({
            "Type": kind,
            "MessageId": "m1",
            "TopicArn": TOPIC,
            "Subject": "a subject",
            "Message": "line\nand \"quotes\"",
            "Timestamp": "2026-01-31T12:00:00.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE,
        });
        if kind != "Notification" {
            message["SubscribeURL"] = CONFIRM.into();
            message["Token"] = "2336".into();
        }
        message
    }

    /// The text as the page of AWS spells it, written out once more.
    fn signed(sender: &Sender, mut message: serde_json::Value) -> String {
        let of = |name: &str| message[name].as_str().unwrap().to_owned();
        let text = match message["Type"].as_str().unwrap() {
            "Notification" => format!(
                "Message\n{}\nMessageId\n{}\nSubject\n{}\nTimestamp\n{}\nTopicArn\n{}\nType\n{}\n",
                of("Message"),
                of("MessageId"),
                of("Subject"),
                of("Timestamp"),
                of("TopicArn"),
                of("Type"),
            ),
            _ => format!(
                "Message\n{}\nMessageId\n{}\nSubscribeURL\n{}\nTimestamp\n{}\nToken\n{}\nTopicArn\n{}\nType\n{}\n",
                of("Message"),
                of("MessageId"),
                of("SubscribeURL"),
                of("Timestamp"),
                of("Token"),
                of("TopicArn"),
                of("Type"),
            ),
        };
        message["Signature"] = STANDARD.encode(sender.sign(text.as_bytes())).into();
        message.to_string()
    }

    fn ready(sender: &Sender) -> Sns {
        let known = scheme(&[TOPIC]).unwrap();
        known.learn(CERTIFICATE, sender.pem.as_bytes()).unwrap();
        known
    }

    #[test]
    fn what_the_named_certificate_signed_is_taken_and_no_field_of_it_may_change() {
        let sender = Sender::new();
        let known = ready(&sender);
        let body = signed(&sender, message("Notification"));
        let case = Case::new(&[], &body, 0);
        assert_eq!(case.check(&known), Ok(Consumed::Nothing));
        assert_eq!(case.handshake(&known), None);
        assert_eq!(
            case.identity(&known),
            Identity::of(Some("m1"), Some("Notification"))
        );
        for (field, other) in [
            ("Message", "other"),
            ("MessageId", "m2"),
            ("Subject", "other"),
            ("Timestamp", "2026-01-31T12:00:01.000Z"),
            ("SignatureVersion", "1"),
        ] {
            let mut changed: serde_json::Value = serde_json::from_str(&body).unwrap();
            changed[field] = other.into();
            let case = Case::new(&[], &changed.to_string(), 0);
            assert_eq!(case.check(&known), Err(Refusal::Wrong), "{field}");
        }
        for none in ["", "{}", "[]"] {
            assert_eq!(Case::new(&[], none, 0).check(&known), Err(Refusal::Missing));
        }
    }

    #[test]
    fn a_topic_of_somebody_elses_cannot_be_hidden_in_a_topic_of_ours() {
        // SNS signs lines, and a stranger may choose the text of their message.
        let sender = Sender::new();
        let known = scheme(&["arn:aws:sns:eu-west-1:123456789012:*"]).unwrap();
        known.learn(CERTIFICATE, sender.pem.as_bytes()).unwrap();
        let mut theirs = message("Notification");
        let inner =
            format!("forged\nMessageId\nm2\nSubject\na\nTimestamp\n2026\nTopicArn\n{TOPIC}");
        theirs["Message"] = inner.into();
        theirs["TopicArn"] = "arn:aws:sns:eu-west-1:210987654321:theirs".into();
        let mut posted: serde_json::Value = serde_json::from_str(&signed(&sender, theirs)).unwrap();
        posted["Message"] = "forged".into();
        posted["MessageId"] = "m2".into();
        posted["Subject"] = "a".into();
        posted["Timestamp"] = "2026".into();
        posted["TopicArn"] = format!(
            "{TOPIC}\nMessageId\nm1\nSubject\na subject\nTimestamp\n2026-01-31T12:00:00.000Z\nTopicArn\narn:aws:sns:eu-west-1:210987654321:theirs"
        )
        .into();
        let case = Case::new(&[], &posted.to_string(), 0);
        assert_eq!(case.check(&known), Err(Refusal::Malformed));
    }

    #[test]
    fn other_topics_are_refused_however_well_they_are_signed() {
        let sender = Sender::new();
        let known = ready(&sender);
        let mut other = message("Notification");
        other["TopicArn"] = "arn:aws:sns:eu-west-1:210987654321:calls".into();
        let case = Case::new(&[], &signed(&sender, other), 0);
        assert_eq!(case.check(&known), Err(Refusal::Foreign));
        let wide = scheme(&["arn:aws:sns:eu-west-1:123456789012:*"]).unwrap();
        assert!(wide.is_ours(TOPIC) && !wide.is_ours("arn:aws:sns:eu-west-1:21:calls"));
        assert!(scheme(&[]).is_err() && scheme(&["*"]).is_err());
    }

    #[test]
    fn a_certificate_is_looked_for_at_sns_alone() {
        let known = scheme(&[TOPIC]).unwrap();
        let wants = |url: &str| {
            let mut message = message("Notification");
            message["SigningCertURL"] = url.into();
            message["Signature"] = "AAAA".into();
            let body = bytes::Bytes::from(message.to_string());
            known.wants(&Received {
                method: "POST",
                path: "/",
                url: None,
                headers: &http::HeaderMap::new(),
                body: &body,
                now: domain::Timestamp::UNIX_EPOCH,
                client: None,
            })
        };
        assert_eq!(wants(CERTIFICATE), Ok(Some(CERTIFICATE.to_owned())));
        for bad in [
            "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
            "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem",
            "https://evil.example/SimpleNotificationService-1.pem",
            "https://bucket.s3.amazonaws.com/SimpleNotificationService-1.pem",
            "https://sns.a.b.amazonaws.com/SimpleNotificationService-1.pem",
            // Buckets named sns.
            "https://sns.s3.amazonaws.com/SimpleNotificationService-1.pem",
            "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
            "https://sns.eu-west-1.amazonaws.com/other.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-../x.pem",
            "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-1.pem",
        ] {
            assert_eq!(wants(bad), Err(Refusal::Malformed), "{bad}");
        }
        known
            .learn(CERTIFICATE, Sender::new().pem.as_bytes())
            .unwrap();
        assert_eq!(wants(CERTIFICATE), Ok(None));
    }

    #[test]
    fn a_subscription_is_confirmed_if_sns_asks_for_it_and_nowhere_else() {
        let sender = Sender::new();
        let known = ready(&sender);
        let shake = |body: &str| Case::new(&[], body, 0).handshake(&known);
        let asked = signed(&sender, message("SubscriptionConfirmation"));
        assert_eq!(shake(&asked), Some(Handshake::Confirm(CONFIRM.into())));
        let forged = asked.replace("Token=2336", "Token=2337");
        assert_eq!(shake(&forged), Some(Handshake::Refused(Refusal::Wrong)));
        for elsewhere in [
            "https://evil.example/?Action=ConfirmSubscription&Token=1",
            "https://sns.eu-west-1.amazonaws.com/?Action=DeleteTopic&x=1",
            "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=1",
        ] {
            let mut message = message("SubscriptionConfirmation");
            message["SubscribeURL"] = elsewhere.into();
            let said = shake(&signed(&sender, message));
            assert_eq!(
                said,
                Some(Handshake::Refused(Refusal::Malformed)),
                "{elsewhere}"
            );
        }
        let ended = signed(&sender, message("UnsubscribeConfirmation"));
        assert_eq!(shake(&ended), Some(Handshake::Ended));
        // It is no event either way.
        let case = Case::new(&[], &asked, 0);
        assert_eq!(case.check(&known), Err(Refusal::Malformed));
    }
}
