//! What a route is, and which route a request means.

use std::fmt;

use axum::http::Method;

use super::access::Scope;
use super::routes::ROUTES;

/// One route of the API: all that the router, the keys and the description need to know of it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// Literals and `{names}` between slashes, behind the prefix.
    pub(super) path: &'static str,
    pub(super) act: Act,
    /// What it does, for the description.
    pub(super) summary: &'static str,
    pub(super) query: &'static [Param],
    pub(super) body: Body,
    /// The answers that are no errors, and what they mean.
    pub(super) answers: &'static [Answer],
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    Start,
    Status,
    List,
    PurgeOne,
    PurgeMany,
    Raise,
    Terminate,
    Suspend,
    Resume,
    Rewind,
    Restart,
    RestartWithOptions,
    MakePrimary,
    Entity,
    StartByBody,
    Show,
    Search,
    History,
    PurgeFound,
    RestartAgain,
    Hub,
    Access,
    Usage,
    Parked,
    RetryParked,
    DropParked,
    OpenApi,
}

impl Act {
    /// The key that it takes.
    pub(super) fn needs(self) -> Scope {
        match self {
            Self::Status | Self::List | Self::Show | Self::Search | Self::History | Self::OpenApi => Scope::Read,
            Self::Hub | Self::Access | Self::Usage | Self::Parked => Scope::Read,
            Self::PurgeOne | Self::PurgeMany | Self::PurgeFound | Self::MakePrimary | Self::DropParked => Scope::Admin,
            _ => Scope::Operate,
        }
    }

    /// The name that signatures of URLs are made over: changing one makes URLs invalid that were handed out.
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }
}

/// An answer of a route that is no refusal.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) meaning: &'static str,
    pub(super) shape: Shape,
}

impl Answer {
    pub(super) const fn new(code: u16, meaning: &'static str, shape: Shape) -> Self {
        Self { code, meaning, shape }
    }
}

/// What the body of an answer is; each but the first two has a schema of its name in the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Nothing,
    /// Any JSON value.
    Any,
    CheckStatus,
    Instance,
    Instances,
    Purged,
    Whole,
    Page,
    Events,
    Hub,
    Access,
    Usage,
    Parked,
    /// A refusal in the form of Durable Functions.
    Refused,
    /// A refusal under `/api/v1`.
    Problem,
}

/// What a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// Any JSON value, or nothing.
    Json,
    /// An object that names an orchestrator to start.
    Start,
}

/// A parameter of the query.
#[derive(Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) reach: Reach,
    pub(super) about: &'static str,
}

/// What a parameter does to what a URL that is handed out allows without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Same,
    /// Does or shows more: a flag that is true, and anything else that is given.
    Widens,
    /// A flag that shows less if it is false.
    Narrows,
}

/// What the value of a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    Time,
    Seconds,
    Count,
    Statuses,
}

impl Param {
    pub(super) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, reach: Reach::Same, about }
    }

    pub(super) const fn with(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    pub(super) const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Text, about)
    }

    pub(super) const fn flag(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Flag, about)
    }
}

/// Parameters that every route takes.
pub(super) const COMMON: [Param; 3] = [
    Param::text("taskHub", "The task hub; any other than the one that is served is not found."),
    Param::text("connection", "Accepted from clients of Durable Functions, and without a meaning here."),
    Param::text("code", "A key, or the signature of a URL that was handed out."),
];

/// Which of the two APIs a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// That of Durable Functions.
    Functions,
    /// What is beside it.
    V1,
}

/// Where the newer surface begins.
pub(super) const V1: &str = "/api/v1";

impl Surface {
    /// The surface of a path behind the prefix.
    pub(super) fn of(path: &str) -> Self {
        if super::path::behind(path, V1).is_some() { Self::V1 } else { Self::Functions }
    }
}

/// What a path and a method mean.
#[derive(Debug)]
pub(super) enum Found {
    /// A route, and the values of the names in its path, in order.
    Route(&'static Route, Vec<String>),
    /// There are routes with this path, for these methods.
    OtherMethods(Vec<Method>),
    Nothing,
}

/// The route of a path that is cut into its segments.
pub(super) fn find(method: &Method, segments: &[String]) -> Found {
    let mut methods = Vec::new();
    for route in &ROUTES {
        if let Some(names) = route.names(segments) {
            if route.method == *method || (*method == Method::HEAD && route.method == Method::GET) {
                return Found::Route(route, names);
            }
            methods.push(route.method.clone());
            // Whoever may read may ask whether there is something to read.
            methods.extend((route.method == Method::GET).then_some(Method::HEAD));
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
}

impl Route {
    /// The parts of the path.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.path.split('/').skip(1).map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => Part::Name(name),
            None => Part::Literal(part),
        })
    }

    fn names(&self, segments: &[String]) -> Option<Vec<String>> {
        let (mut names, mut segments) = (Vec::new(), segments.iter());
        for part in self.parts() {
            match (part, segments.next()?) {
                (Part::Literal(literal), segment) if segment.eq_ignore_ascii_case(literal) => {}
                (Part::Name(_), segment) if !segment.is_empty() => names.push(segment.clone()),
                _ => return None,
            }
        }
        segments.next().is_none().then_some(names)
    }

    /// Whether a name of a parameter that is not known is refused. Durable Functions ignores it; but a filter that is ignored deletes too much.
    pub(super) fn refuses_unknown(&self) -> bool {
        self.act == Act::PurgeMany || Surface::of(self.path) == Surface::V1
    }

    /// Whether the value of a name in the path is the id of an instance.
    pub(super) fn has_instance(&self) -> bool {
        self.parts().any(|part| matches!(part, Part::Name("instanceId")))
    }
}

/// A part of the path of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(&'static str),
    Name(&'static str),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &Method, path: &str) -> Option<(Act, Vec<String>)> {
        match find(method, &super::super::path::segments(path).unwrap()) {
            Found::Route(route, names) => Some((route.act, names)),
            _ => None,
        }
    }

    #[test]
    fn literals_are_found_in_any_case_and_names_as_they_are() {
        assert_eq!(found(&Method::POST, "/Orchestrators/Hello/"), Some((Act::Start, vec!["Hello".into()])));
        let raised = Some((Act::Raise, vec!["a/b".into(), "Go".into()]));
        assert_eq!(found(&Method::POST, "/instances/a%2Fb/RAISEEVENT/Go"), raised);
        assert_eq!(found(&Method::POST, "/instances/a%2Fterminate"), None);
        for nowhere in ["/", "/orchestrators", "/instances//a", "/instances/a/raiseEvent", "/instances/a/b/c/d"] {
            for method in [Method::GET, Method::POST] {
                assert_eq!(found(&method, nowhere), None, "{nowhere}");
            }
        }
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let Found::OtherMethods(methods) = find(&Method::PUT, &["instances".into(), "x".into()]) else { panic!() };
        assert_eq!(methods, [Method::GET, Method::HEAD, Method::DELETE]);
    }

    #[test]
    fn no_two_routes_are_the_same_and_each_segment_has_one_meaning() {
        for (at, route) in ROUTES.iter().enumerate() {
            let segments: Vec<String> = route.path.split('/').skip(1).map(str::to_owned).collect();
            let Found::Route(found, _) = find(&route.method, &segments) else { panic!("{route}") };
            assert!(std::ptr::eq(found, &raw const ROUTES[at]), "{route} is hidden by {found}");
        }
    }
}
