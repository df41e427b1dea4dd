//! Queues of a node, as a test sees them.

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::Server;
use crate::{DEADLINE, Error, Result, until};

impl Server {
    /// Makes a durable quorum queue, which is there after a kill as well.
    ///
    /// # Errors
    ///
    /// When the node refuses.
    pub async fn declare_quorum(&self, queue: &str) -> Result<()> {
        let (_connection, channel) = self.channel().await?;
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        let kind = AMQPValue::LongString("quorum".into());
        arguments.insert(name("x-queue-type")?, kind);
        let declared = channel.queue_declare(name(queue)?, options, arguments);
        declared.await?;
        self.write_out().await
    }

    /// Puts messages into a queue, each with an id, and comes back once the node has them on disk.
    ///
    /// # Errors
    ///
    /// When the node refuses.
    pub async fn publish_all(&self, queue: &str, bodies: Vec<Vec<u8>>) -> Result<()> {
        let (_connection, channel) = self.channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let mut confirms = Vec::with_capacity(bodies.len());
        for (number, body) in bodies.into_iter().enumerate() {
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_message_id(name(&number.to_string())?);
            let options = BasicPublishOptions::default();
            let published =
                channel.basic_publish(name("")?, name(queue)?, options, &body, properties);
            confirms.push(published.await?);
        }
        for confirm in confirms {
            confirm.await?;
        }
        Ok(())
    }

    /// Takes everything out of a queue: each message's id and body, oldest first.
    ///
    /// # Errors
    ///
    /// When there is no such queue, or it does not answer within a minute after a start.
    pub async fn take_all(&self, queue: &str) -> Result<Vec<(String, Vec<u8>)>> {
        // A restarted quorum queue chooses its leader before it answers.
        let (_connection, channel) = until("the queue answers", DEADLINE, async || {
            let opened = self.channel().await.map_err(|error| error.to_string())?;
            let queue = name(queue).map_err(|error| error.to_string())?;
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let asked = opened
                .1
                .queue_declare(queue, options, FieldTable::default());
            asked.await.map_err(|error| error.to_string())?;
            Ok(opened)
        })
        .await?;
        let mut taken = Vec::new();
        loop {
            let got = channel.basic_get(name(queue)?, BasicGetOptions::default());
            let Some(got) = got.await? else {
                return Ok(taken);
            };
            let acked = got.acker.ack(BasicAckOptions::default());
            acked.await?;
            let id = got.delivery.properties.message_id().as_ref();
            let id = id.map(ToString::to_string).unwrap_or_default();
            taken.push((id, got.delivery.data));
        }
    }

    /// The channel lives as long as the connection.
    async fn channel(&self) -> Result<(Connection, Channel)> {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.url(), properties).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }
}

fn name(text: &str) -> Result<ShortString> {
    ShortString::try_new(text)
        .map_err(|_| Error::Misuse(format!("{text} is too long for a name in AMQP")))
}
