//! The door to the identity provider: OpenID Connect, its code flow, with PKCE, state and nonce.
//!
//! The provider says who somebody is and in which groups; the users file says what that allows. What it says is believed when its signature,
//! issuer, audience, time and nonce are right, and only to the browser that began the sign-in. Its keys are asked for again when a
//! signature is of none of them, since providers change keys. It being away keeps nobody out who is signed in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
    CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AuthType, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, Client,
    ClientId, ClientSecret, CsrfToken, DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdTokenClaims, IdTokenFields, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardErrorResponse,
    StandardTokenResponse, TokenResponse,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use super::secrets::{self, Digest};
use super::users;
use crate::config::{NameClaim, Provider};

/// Longest answer of a provider; keys and tokens have some kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest time that a provider takes to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a provider says of itself is asked for again after this.
const STALE: SignedDuration = SignedDuration::from_hours(12);
/// The least time between two questions for it, however many ask.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// How long somebody may take to sign in over there.
const FLOW_LASTS: SignedDuration = SignedDuration::from_mins(10);
/// Sign-ins under way at once; above this the oldest is forgotten.
const FLOWS_MAX: usize = 1_000;

type Fields = IdTokenFields<
    Groups,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
type Claims = IdTokenClaims<Groups, CoreGenderClaim>;
type OidcClient = Client<
    Groups,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The claim that many providers put groups into; it is in no standard, so it may look like anything.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Groups {
    #[serde(default)]
    groups: serde_json::Value,
}

impl AdditionalClaims for Groups {}

/// Who somebody is, as the provider says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What the users file knows them by.
    pub(crate) name: String,
    /// Their groups.
    pub(crate) groups: Vec<String>,
}

/// A sign-in that did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// Nothing is heard of the provider, or nothing that makes sense.
    #[error("the identity provider cannot be asked: {0}")]
    Away(String),
    /// This was not begun here, or not by this browser, or it is over.
    #[error("this sign-in was begun in another browser, too long ago, or is over already; begin again")]
    NotBegun,
    /// The provider let nobody in.
    #[error("the identity provider did not sign you in: {0}")]
    Refused(String),
    /// What it says is not to be believed.
    #[error("what the identity provider says cannot be believed: {0}")]
    Unbelieved(String),
}

/// A sign-in under way.
#[derive(Debug)]
struct Flow {
    browser: Digest,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    next: String,
    began: Timestamp,
}

/// What the provider says of itself, and when it was asked.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<Arc<CoreProviderMetadata>>,
    told: Timestamp,
    asked: Option<Timestamp>,
}

/// What the provider sends a browser back with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Return {
    #[serde(default)]
    pub(crate) state: String,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) iss: Option<String>,
}

/// The identity provider.
#[derive(Debug)]
pub(crate) struct Oidc {
    provider: Provider,
    redirect: RedirectUrl,
    http: reqwest::Client,
    known: AsyncMutex<Known>,
    /// By the digest of their state.
    flows: Mutex<HashMap<Digest, Flow>>,
}

impl Oidc {
    /// A provider that sends people back to `redirect`. Nothing is asked yet.
    pub(crate) fn new(provider: Provider, redirect: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .user_agent(concat!("fermata/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let redirect = RedirectUrl::new(redirect)?;
        Ok(Self { provider, redirect, http, known: AsyncMutex::default(), flows: Mutex::default() })
    }

    /// Asks the provider what it says of itself, unless that is known.
    pub(crate) async fn meet(&self, now: Timestamp) -> Result<(), OidcError> {
        self.metadata(false, now).await.map(drop)
    }

    /// Begins a sign-in; returns where to send the browser, and the cookie by which it is known when it comes back.
    pub(crate) async fn begin(&self, next: String, now: Timestamp) -> Result<(Url, String), OidcError> {
        let metadata = self.metadata(false, now).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client(&metadata);
        let mut request = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                || CsrfToken::new(secrets::random()),
                || Nonce::new(secrets::random()),
            )
            .add_scopes(["email", "profile"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge);
        let groups = Scope::new("groups".to_owned());
        if metadata.scopes_supported().is_some_and(|scopes| scopes.contains(&groups)) {
            request = request.add_scope(groups);
        }
        let (url, state, nonce) = request.url();
        let cookie = secrets::random();
        let flow = Flow { browser: Digest::of(&cookie), nonce, verifier, next, began: now };
        self.keep(Digest::of(state.secret()), flow, now);
        Ok((url, cookie))
    }

    /// Ends a sign-in; returns who it was, and where they wanted to go.
    pub(crate) async fn end(
        &self,
        back: Return,
        cookie: Option<&str>,
        now: Timestamp,
    ) -> Result<(Identity, String), OidcError> {
        let flow = self.take(&back.state, cookie, now).ok_or(OidcError::NotBegun)?;
        if back.iss.is_some_and(|issuer| issuer != self.provider.issuer) {
            return Err(OidcError::Unbelieved("another one answers".to_owned()));
        }
        let Some(code) = back.code else {
            return Err(OidcError::Refused(back.error.unwrap_or_else(|| "it gave no reason".to_owned())));
        };
        let metadata = self.metadata(false, now).await?;
        let client = self.client(&metadata);
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|error| OidcError::Away(error.to_string()))?;
        let ask = |request| ask(self.http.clone(), request);
        let tokens =
            request.set_pkce_verifier(flow.verifier).request_async(&ask).await.map_err(token_error)?;
        let claims = match self.claims(&metadata, &tokens, &flow.nonce) {
            // Its keys may be new ones.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                self.claims(&*self.metadata(true, now).await?, &tokens, &flow.nonce)
            }
            claims => claims,
        };
        let claims = claims.map_err(|error| OidcError::Unbelieved(error.to_string()))?;
        Ok((self.identity(&claims)?, flow.next))
    }

    fn client(&self, metadata: &CoreProviderMetadata) -> OidcClient {
        let secret = self.provider.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let id = ClientId::new(self.provider.client_id.clone());
        // A provider that does not say so takes the secret in a header.
        let takes =
            |method| metadata.token_endpoint_auth_methods_supported().is_none_or(|all| all.contains(&method));
        let how = if takes(CoreClientAuthMethod::ClientSecretBasic) {
            AuthType::BasicAuth
        } else {
            AuthType::RequestBody
        };
        OidcClient::from_provider_metadata(metadata.clone(), id, secret)
            .set_auth_type(how)
            .set_redirect_uri(self.redirect.clone())
    }

    /// What a token says, if it is the provider's, for us, of now and of this sign-in.
    fn claims(
        &self,
        metadata: &CoreProviderMetadata,
        tokens: &Tokens,
        nonce: &Nonce,
    ) -> Result<Claims, ClaimsVerificationError> {
        let missing = || ClaimsVerificationError::Other("there is no id token".to_owned());
        let token = tokens.id_token().ok_or_else(missing)?;
        let client = self.client(metadata);
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
        let claims = token.clone().into_claims(&verifier, nonce)?;
        match claims.authorized_party() {
            Some(party) if party.as_str() != self.provider.client_id => {
                Err(ClaimsVerificationError::InvalidAudience("it was made out to another".to_owned()))
            }
            _ => Ok(claims),
        }
    }

    fn identity(&self, claims: &Claims) -> Result<Identity, OidcError> {
        let subject = || claims.subject().as_str().to_owned();
        let name = match self.provider.name {
            NameClaim::Email => match (claims.email(), claims.email_verified()) {
                (Some(email), Some(true)) => email.as_str().to_owned(),
                _ => subject(),
            },
            NameClaim::PreferredUsername => match claims.preferred_username() {
                Some(name) => name.as_str().to_owned(),
                None => return Err(OidcError::Unbelieved("it names no preferred_username".to_owned())),
            },
            NameClaim::Subject => subject(),
        };
        if let Some(fault) = users::name_fault(&name) {
            return Err(OidcError::Unbelieved(format!("the name of this person {fault}")));
        }
        let groups = match &claims.additional_claims().groups {
            serde_json::Value::String(group) => vec![group.clone()],
            serde_json::Value::Array(groups) => {
                groups.iter().filter_map(|group| group.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Identity { name, groups })
    }

    /// What the provider says of itself; `anew` if what it said before may no longer be so.
    async fn metadata(&self, anew: bool, now: Timestamp) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let mut known = self.known.lock().await;
        let is_stale = anew || now.duration_since(known.told) > STALE;
        if let Some(metadata) = known.metadata.as_ref().filter(|_| !is_stale) {
            return Ok(metadata.clone());
        }
        let just_asked = known.asked.is_some_and(|asked| now.duration_since(asked).abs() < AGAIN);
        let outcome = if just_asked {
            Err(OidcError::Away("it was asked just now; try again in a few seconds".to_owned()))
        } else {
            known.asked = Some(now);
            self.discover().await
        };
        match (outcome, &known.metadata) {
            (Ok(metadata), _) => {
                let metadata = Arc::new(metadata);
                known.metadata = Some(metadata.clone());
                known.told = now;
                Ok(metadata)
            }
            (Err(_), Some(before)) => Ok(before.clone()),
            (Err(error), None) => Err(error),
        }
    }

    async fn discover(&self) -> Result<CoreProviderMetadata, OidcError> {
        let away = |error: String| OidcError::Away(error);
        let issuer = IssuerUrl::new(self.provider.issuer.clone()).map_err(|error| away(error.to_string()))?;
        let ask = |request| ask(self.http.clone(), request);
        CoreProviderMetadata::discover_async(issuer, &ask).await.map_err(|error| match error {
            DiscoveryError::Request(error) => away(error.to_string()),
            DiscoveryError::Validation(fault) => {
                away(format!("FERMATA_OIDC_ISSUER is not what it calls itself: {fault}"))
            }
            error => away(error.to_string()),
        })
    }

    fn keep(&self, state: Digest, flow: Flow, now: Timestamp) {
        let mut flows = self.flows.lock().expect(HELD);
        flows.retain(|_, flow| now.duration_since(flow.began) < FLOW_LASTS);
        if flows.len() >= FLOWS_MAX {
            let oldest = flows.iter().min_by_key(|(_, flow)| flow.began).map(|(state, _)| *state);
            oldest.and_then(|state| flows.remove(&state));
        }
        flows.insert(state, flow);
    }

    /// A sign-in that this browser began, if it is under way; it never is again.
    fn take(&self, state: &str, cookie: Option<&str>, now: Timestamp) -> Option<Flow> {
        let flow = self.flows.lock().expect(HELD).remove(&Digest::of(state))?;
        let is_ours = cookie.is_some_and(|cookie| Digest::of(cookie) == flow.browser);
        (is_ours && now.duration_since(flow.began) < FLOW_LASTS).then_some(flow)
    }
}

const HELD: &str = "nobody panics while holding it";

/// Signatures that only the provider can make: none, and none with the secret that both have, are among them.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Something that went wrong on the way to the provider.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("{}", crate::out::causes(.0))]
    Wire(anyhow::Error),
    #[error("its answer is too long")]
    TooLong,
}

impl From<reqwest::Error> for AskError {
    fn from(error: reqwest::Error) -> Self {
        // Its address may hold a code.
        Self::Wire(error.without_url().into())
    }
}

async fn ask(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, AskError> {
    let mut answer = http.execute(request.try_into()?).await?;
    let mut response = HttpResponse::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    while let Some(piece) = answer.chunk().await? {
        response.body_mut().extend_from_slice(&piece);
        if response.body().len() > ANSWER_BYTES_MAX {
            return Err(AskError::TooLong);
        }
    }
    Ok(response)
}

fn token_error(
    error: RequestTokenError<AskError, StandardErrorResponse<CoreErrorResponseType>>,
) -> OidcError {
    match error {
        RequestTokenError::ServerResponse(answer) => OidcError::Refused(answer.error().to_string()),
        RequestTokenError::Request(error) => OidcError::Away(error.to_string()),
        RequestTokenError::Parse(error, _) => OidcError::Unbelieved(error.to_string()),
        RequestTokenError::Other(error) => OidcError::Unbelieved(error),
    }
}

#[cfg(test)]
mod tests;
