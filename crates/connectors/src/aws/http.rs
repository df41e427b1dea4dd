//! The SDK's requests over the HTTP client that everything else uses: one TLS, one set of certificates, one pool.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};

/// The longest answer that is read. AWS's are far below.
const ANSWER_BYTES: usize = 4 << 20;

/// The client as the SDK takes it. Its own time limits count, not the SDK's.
#[derive(Debug, Clone)]
pub(super) struct Requests(pub(super) reqwest::Client);

impl HttpClient for Requests {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Requests {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = into_reqwest(request)?;
            let answer = client.execute(request).await.map_err(broken)?;
            let mut whole = ::http::Response::new(SdkBody::empty());
            *whole.status_mut() = answer.status();
            *whole.headers_mut() = answer.headers().clone();
            *whole.body_mut() = SdkBody::from(read(answer).await?);
            HttpResponse::try_from(whole).map_err(unfit)
        })
    }
}

fn into_reqwest(request: HttpRequest) -> Result<reqwest::Request, ConnectorError> {
    let (parts, body) = request.try_into_http1x().map_err(unfit)?.into_parts();
    let url = reqwest::Url::parse(&parts.uri.to_string()).map_err(unfit)?;
    let body = body.bytes().map(Bytes::copy_from_slice);
    let body = body.ok_or_else(|| unfit("a request that is not in memory"))?;
    let mut made = reqwest::Request::new(parts.method, url);
    *made.headers_mut() = parts.headers;
    *made.body_mut() = Some(body.into());
    Ok(made)
}

async fn read(mut answer: reqwest::Response) -> Result<Bytes, ConnectorError> {
    let mut whole = BytesMut::new();
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        if whole.len() + piece.len() > ANSWER_BYTES {
            return Err(unfit("an answer without end"));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

fn unfit(error: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

fn broken(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(Box::new(error))
    } else {
        ConnectorError::io(Box::new(error))
    }
}
