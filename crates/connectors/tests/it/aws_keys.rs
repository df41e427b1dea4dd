//! Keys as AWS looks at them: those of a user that is allowed something and no more.

use serde_json::{Value, json};
use testbed::moto::Moto;

/// A user's key and its secret.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Makes a user that may do `actions` with anything.
pub(crate) async fn user(moto: &Moto, name: &str, actions: &[&str]) -> Keys {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
    });
    let script = format!(
        r#"
import boto3, json
iam = boto3.client("iam")
iam.create_user(UserName="{name}")
iam.put_user_policy(UserName="{name}", PolicyName="only", PolicyDocument=json.dumps({policy}))
key = iam.create_access_key(UserName="{name}")["AccessKey"]
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
"#
    );
    let printed = moto.python(&script).await.unwrap();
    let [id, secret]: [String; 2] = serde_json::from_str(&printed).unwrap();
    Keys { id, secret }
}

impl Keys {
    /// The section with these keys.
    pub(crate) fn in_section(&self, mut section: Value) -> Value {
        section["access_key_id"] = self.id.clone().into();
        section["secret_access_key"] = self.secret.clone().into();
        section
    }

    /// The same key with another secret.
    pub(crate) fn mistaken(&self) -> Self {
        Self {
            id: self.id.clone(),
            secret: "hunter2hunter2hunter2hunter2hunter2hunt".into(),
        }
    }
}
