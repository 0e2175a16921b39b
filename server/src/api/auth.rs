//! Who calls, and what they may do: bearer tokens with roles.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::config::{Role, Token};

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's name; `local` where there are no tokens.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// The tokens that are accepted.
pub struct Tokens {
    known: Vec<(Caller, Vec<u8>)>,
}

impl Tokens {
    /// Reads the secrets.
    ///
    /// # Errors
    /// When one is nowhere.
    pub fn new(tokens: &[Token]) -> Result<Self, String> {
        let read = |t: &Token| Ok((Caller { name: t.name.clone(), role: t.role }, t.secret()?.into_bytes()));
        Ok(Tokens { known: tokens.iter().map(read).collect::<Result<_, String>>()? })
    }

    /// Who calls without a token, where there are none.
    pub fn anyone(&self) -> Option<Caller> {
        self.known.is_empty().then(|| Caller { name: "local".into(), role: Role::Admin })
    }

    /// Whose secret this is. Every token is compared, in constant time.
    pub fn holder(&self, secret: &str) -> Option<Caller> {
        let mut found = None;
        for (caller, known) in &self.known {
            if bool::from(known.ct_eq(secret.as_bytes())) {
                found = Some(caller);
            }
        }
        found.cloned()
    }

    /// Who sent this `Authorization` header.
    pub fn caller(&self, authorization: Option<&str>) -> Result<Caller, Problem> {
        if let Some(anyone) = self.anyone() {
            return Ok(anyone);
        }
        let refuse = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        let given = authorization.ok_or_else(|| refuse("this service needs a token").hint("send Authorization: Bearer TOKEN"))?;
        let Some(("Bearer" | "bearer", token)) = given.split_once(' ') else { return Err(refuse("Authorization is not a bearer token")) };
        self.holder(token.trim()).ok_or_else(|| refuse("the token is not known"))
    }
}

/// What a call needs: looking is for readers, changing for writers; asking with POST changes nothing.
fn needed(method: &Method, path: &str) -> Role {
    let asks = ["/explain", "/segments/preview", "/segments/check"].iter().any(|p| path.ends_with(p));
    if path.ends_with("/audit") {
        return Role::Admin;
    }
    // What SQL needs depends on its statements.
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || asks || path.ends_with("/sql") { Role::Read } else { Role::Write }
}

/// Refuses callers without the role that a call needs.
pub async fn check(State(tokens): State<Arc<Tokens>>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let caller = match tokens.caller(header) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if let Err(problem) = caller.may(needed(request.method(), request.uri().path())) {
        return problem.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

impl Caller {
    /// Refuses a caller whose role is too low.
    pub fn may(&self, needed: Role) -> Result<(), Problem> {
        if self.role >= needed {
            return Ok(());
        }
        let name = |r| format!("{r:?}").to_lowercase();
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", format!("{} has role {}, and this needs {}", self.name, name(self.role), name(needed))))
    }
}
