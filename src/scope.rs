//! The namespace in which keys are unique: who is asking.

use std::{any::type_name, fmt, marker::PhantomData, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::digest::{PartDigest, hex};

/// The namespace in which keys are unique: the caller's identity.
///
/// Two callers may use the same key without ever meeting each other's answers, as long as
/// their scopes differ. Only a digest is kept; `Debug` shows its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope([u8; 32]);

impl Scope {
    /// The scope of a principal your service has verified: a user, tenant or account id.
    ///
    /// ```
    /// use tower_idempotency::Scope;
    ///
    /// assert_ne!(Scope::new("tenant-1"), Scope::new("tenant-2"));
    /// ```
    #[must_use]
    pub fn new(principal: impl AsRef<[u8]>) -> Self {
        Self::of([principal])
    }

    /// The scope of a principal named by several parts, for example tenant and user. No
    /// two different lists of parts make the same scope.
    #[must_use]
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self(PartDigest::of("scope:principal", |digest| {
            for part in parts {
                digest.part(part);
            }
        }))
    }

    /// One namespace for every caller: **anyone who sends another caller's key and payload
    /// is answered with that caller's response.** Only for services whose callers all trust
    /// each other, or whose keys nobody can guess.
    #[must_use]
    pub fn global() -> Self {
        Self(PartDigest::of("scope:global", |_| {}))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({}…)", hex(&self.0[..4]))
    }
}

/// The scope of a request could not be told: it is refused with 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scope of the request is unknown")]
#[non_exhaustive]
pub struct MissingScope;

impl MissingScope {
    /// Refuses a request.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Default for MissingScope {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells whose request it is.
///
/// Refuse rather than fall back to a shared "anonymous": in a shared scope one caller can be
/// answered with another's response.
///
/// ```
/// use http::request::Parts;
/// use tower_idempotency::{MissingScope, Scope, ScopeSource};
///
/// #[derive(Clone)]
/// struct Tenant(String);
///
/// struct TenantScope;
///
/// impl ScopeSource for TenantScope {
///     fn scope(&self, parts: &Parts) -> Result<Scope, MissingScope> {
///         let tenant = parts.extensions.get::<Tenant>().ok_or(MissingScope::new())?;
///         Ok(Scope::new(&tenant.0))
///     }
/// }
/// ```
pub trait ScopeSource: Send + Sync + 'static {
    /// The scope of the request with this head.
    ///
    /// # Errors
    ///
    /// [`MissingScope`] refuses the request with 403.
    fn scope(&self, parts: &Parts) -> Result<Scope, MissingScope>;
}

impl<S: ScopeSource + ?Sized> ScopeSource for Arc<S> {
    fn scope(&self, parts: &Parts) -> Result<Scope, MissingScope> {
        (**self).scope(parts)
    }
}

/// The default scope: a digest of `Authorization`, `Cookie` and `X-Api-Key` as sent. A cookie
/// that HTTP/2 brings in crumbs is the same as in one line.
///
/// Nobody is ever answered with the response to other credentials. The price: **a
/// credential that changes between two attempts starts a new operation**, for example a
/// token refreshed in between, a session cookie the server rotates, or a signature made anew for
/// each attempt. A service that knows its callers should use [`ExtensionScope`] or a scope
/// function instead.
///
/// **Requests with none of the three share one scope.** A service that knows its callers by
/// anything else (another header, a client certificate, the query) must name them by one of these
/// two: otherwise all callers are one here, and who sends the key and the payload of another is
/// answered with that one's response.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CredentialScope;

impl CredentialScope {
    /// The default scope source.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl ScopeSource for CredentialScope {
    fn scope(&self, parts: &Parts) -> Result<Scope, MissingScope> {
        static FIELDS: [HeaderName; 3] = [
            header::AUTHORIZATION,
            header::COOKIE,
            HeaderName::from_static("x-api-key"),
        ];
        Ok(Scope(PartDigest::of("scope:credentials", |digest| {
            let headers = &parts.headers;
            // Most heads have no field twice.
            let is_list = headers.len() > headers.keys_len();
            let first = FIELDS.each_ref().map(|name| headers.get(name));
            for (name, line) in FIELDS.iter().zip(first) {
                match line {
                    None => {
                        digest.number(0);
                    }
                    Some(line) if !is_list => {
                        digest.number(1).part(line);
                    }
                    Some(_) if *name == header::COOKIE => {
                        digest.number(1).part(whole_cookie(headers));
                    }
                    Some(_) => {
                        let lines = headers.get_all(name);
                        digest.number(lines.iter().count() as u64);
                        for line in lines {
                            digest.part(line);
                        }
                    }
                }
            }
        })))
    }
}

/// HTTP/2 may send a cookie in crumbs, which are one line elsewhere (RFC 9113 section 8.2.3).
fn whole_cookie(headers: &HeaderMap) -> Vec<u8> {
    let crumbs = headers.get_all(header::COOKIE).iter();
    let crumbs: Vec<_> = crumbs.map(HeaderValue::as_bytes).collect();
    crumbs.join(&b"; "[..])
}

/// The scope is a request extension that your authentication layer inserted.
///
/// `T` is the verified principal. A request without it is refused with 403. The
/// idempotency layer must sit inside the layer that inserts `T`.
///
/// ```
/// use tower_idempotency::ExtensionScope;
///
/// #[derive(Clone)]
/// struct UserId(String);
///
/// impl AsRef<[u8]> for UserId {
///     fn as_ref(&self) -> &[u8] {
///         self.0.as_bytes()
///     }
/// }
///
/// let scope = ExtensionScope::<UserId>::new();
/// ```
pub struct ExtensionScope<T>(PhantomData<fn() -> T>);

impl<T> ExtensionScope<T> {
    /// Takes the scope from the extension of type `T`.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for ExtensionScope<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for ExtensionScope<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for ExtensionScope<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtensionScope<{}>", type_name::<T>())
    }
}

impl<T> ScopeSource for ExtensionScope<T>
where
    T: AsRef<[u8]> + Send + Sync + 'static,
{
    fn scope(&self, parts: &Parts) -> Result<Scope, MissingScope> {
        let principal = parts.extensions.get::<T>().ok_or(MissingScope)?;
        Ok(Scope::new(principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn scope(lines: &[(&str, &str)]) -> Scope {
        let request = lines
            .iter()
            .fold(Request::builder(), |request, (name, value)| {
                request.header(*name, *value)
            });
        let (parts, ()) = request.body(()).unwrap().into_parts();
        CredentialScope::new().scope(&parts).unwrap()
    }

    #[test]
    fn every_credential_counts() {
        let all = [
            scope(&[]),
            scope(&[("authorization", "a")]),
            scope(&[("cookie", "a")]),
            scope(&[("x-api-key", "a")]),
            scope(&[("authorization", "b")]),
            scope(&[("authorization", "a"), ("authorization", "b")]),
            scope(&[("authorization", "a"), ("cookie", "b")]),
            scope(&[("authorization", "")]),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(i == j, a == b, "{i} and {j}");
            }
        }
        assert_eq!(scope(&[("user-agent", "x")]), scope(&[]));
    }

    #[test]
    fn a_cookie_in_crumbs_is_the_same_cookie() {
        let whole = ("cookie", "a=1; b=2; c=3");
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2; c=3")];
        assert_eq!(scope(&crumbs), scope(&[whole]));
        assert_ne!(scope(&[crumbs[1], crumbs[0]]), scope(&[whole]));
        let (one, other) = (("x-api-key", "a"), ("x-api-key", "b"));
        assert_eq!(
            scope(&[whole, one, other]),
            scope(&[crumbs[0], crumbs[1], one, other])
        );
        assert_ne!(scope(&[one, other]), scope(&[("x-api-key", "a; b")]));
    }

    /// It is a part of every record key.
    #[test]
    fn of_credentials_it_is_what_it_was() {
        let lines = [
            ("x-api-key", "b"),
            ("authorization", "a"),
            ("x-api-key", "c"),
        ];
        assert_eq!(
            hex(scope(&lines).as_bytes()),
            "0a1f64415cffd377f646da603ef68b6651f041d24bb1adae7393f53dfaedf6d0"
        );
    }

    #[test]
    fn kinds_of_scope_never_meet() {
        assert_ne!(Scope::global(), scope(&[]));
        assert_ne!(Scope::of::<&str>([]), Scope::global());
        assert_ne!(Scope::of(["ab", "c"]), Scope::of(["a", "bc"]));
    }

    #[test]
    fn a_missing_extension_is_refused() {
        let source = ExtensionScope::<&'static str>::new();
        let (mut parts, ()) = Request::new(()).into_parts();
        assert_eq!(source.scope(&parts), Err(MissingScope));
        parts.extensions.insert("tenant-1");
        assert_eq!(source.scope(&parts), Ok(Scope::new("tenant-1")));
    }
}
