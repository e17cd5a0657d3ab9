//! A server of S3's protocol that others wrote, on a folder. It checks signatures and hashes.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use fermata_vault::Environment;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const KEY: &str = "the-key";
const SECRET: &str = "the-secret-half";

/// A running server with one bucket.
pub(crate) struct Server {
    endpoint: String,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let router = Router::new().fallback(move |request: Request| {
            let service = service.clone();
            async move {
                let answer = service.call(request.map(s3s::Body::http_body_unsync)).await;
                answer.map_or_else(|_| StatusCode::BAD_REQUEST.into_response(), IntoResponse::into_response)
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint, task, _folder: folder }
    }

    pub(crate) fn environment(&self) -> Environment {
        self.environment_with(SECRET)
    }

    /// With this in the place of the secret half.
    pub(crate) fn environment_with(&self, secret: &str) -> Environment {
        [
            ("AWS_ENDPOINT_URL_S3", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AWS_DEFAULT_REGION", "eu-central-1".to_owned()),
        ]
        .into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
