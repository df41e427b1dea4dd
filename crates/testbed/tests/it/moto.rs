//! The SQS and S3 that tests have, and boto3 beside them.

use testbed::moto::{ACCOUNT, Moto};

#[tokio::test]
async fn boto3_finds_a_queue_and_a_bucket_in_it_and_it_ends_when_dropped() {
    let moto = Moto::start().await.unwrap();
    let script = format!(
        r#"
import boto3
sqs, s3 = boto3.client("sqs"), boto3.client("s3")
url = sqs.create_queue(QueueName="q")["QueueUrl"]
assert url.endswith("/{ACCOUNT}/q"), url
sqs.send_message(QueueUrl=url, MessageBody="sent")
s3.create_bucket(Bucket="bucket")
s3.put_object(Bucket="bucket", Key="k", Body=b"put")
print(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"], s3.get_object(Bucket="bucket", Key="k")["Body"].read().decode())
"#
    );
    assert_eq!(moto.python(&script).await.unwrap(), "sent put\n");
    let failed = moto.python("raise SystemExit('why')").await.unwrap_err();
    assert!(failed.to_string().contains("why"), "{failed}");
    moto.check_permissions().await.unwrap();
    assert!(moto.python(&script).await.is_err());
    let address = moto.addr();
    drop(moto);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
