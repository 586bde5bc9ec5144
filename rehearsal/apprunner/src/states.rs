//! What a service may do in which state.

use serde::{Deserialize, Serialize};

/// The status of a service, as `DescribeService` prints it. There is no CREATING and no DELETING.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum ServiceStatus {
    Running,
    Paused,
    OperationInProgress,
    CreateFailed,
    DeleteFailed,
    Deleted,
}

/// The type of an operation, as `ListOperations` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum OperationType {
    CreateService,
    UpdateService,
    StartDeployment,
    PauseService,
    ResumeService,
    DeleteService,
}

/// The status of an operation, as `ListOperations` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum OperationStatus {
    InProgress,
    Succeeded,
    Failed,
    RollbackInProgress,
    RollbackSucceeded,
}

/// A call that changes a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    StartDeployment,
    UpdateService,
    PauseService,
    ResumeService,
    DeleteService,
    /// `TagResource` and `UntagResource` on a service.
    Tag,
}

/// What App Runner answers to a call in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The call is carried out.
    Yes,
    /// `InvalidStateException`.
    State,
    /// `InvalidRequestException`: `StartDeployment` does not declare `InvalidStateException`.
    Request,
    /// `ResourceNotFoundException`: a deleted service can be described for a while, and nothing else.
    Gone,
}

use Verdict::{Gone, Request, State, Yes};

/// One row a call, one column a state. Where AWS does not say (an update or a resume in DELETE_FAILED, tags while an
/// operation is in progress), the answer is the refusal, so that nobody comes to rely on it: "all mutating actions are
/// blocked" during maintenance (developer guide, architecture). An update of a paused service is refused as the guide
/// says (manage-pause), although an older error text named PAUSED (aws/apprunner-roadmap#95); an update of a
/// CREATE_FAILED one rebuilds it (manage-rebuild). Assumption update-while-paused, Assumption tags-while-busy.
#[rustfmt::skip]
const TABLE: [(Call, [Verdict; 6]); 6] = [
    //                      RUNNING  PAUSED   IN_PROGRESS  CREATE_FAILED  DELETE_FAILED  DELETED
    (Call::StartDeployment, [Yes,    Request, Request,     Request,       Request,       Gone]),
    (Call::UpdateService,   [Yes,    State,   State,       Yes,           State,         Gone]),
    (Call::PauseService,    [Yes,    State,   State,       State,         State,         Gone]),
    (Call::ResumeService,   [State,  Yes,     State,       State,         State,         Gone]),
    (Call::DeleteService,   [Yes,    Yes,     State,       Yes,           Yes,           Gone]),
    (Call::Tag,             [Yes,    Yes,     State,       Yes,           Yes,           Gone]),
];

/// What App Runner answers to `call` on a service that is in `status`.
#[must_use]
pub fn verdict(call: Call, status: ServiceStatus) -> Verdict {
    let column = match status {
        ServiceStatus::Running => 0,
        ServiceStatus::Paused => 1,
        ServiceStatus::OperationInProgress => 2,
        ServiceStatus::CreateFailed => 3,
        ServiceStatus::DeleteFailed => 4,
        ServiceStatus::Deleted => 5,
    };
    let (_, row) = TABLE
        .iter()
        .find(|(row, _)| *row == call)
        .expect("the table has a row for every call");
    row[column]
}

impl ServiceStatus {
    /// As AWS prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::OperationInProgress => "OPERATION_IN_PROGRESS",
            Self::CreateFailed => "CREATE_FAILED",
            Self::DeleteFailed => "DELETE_FAILED",
            Self::Deleted => "DELETED",
        }
    }
}

impl OperationType {
    /// As events spell it: `UpdateService` in `UpdateServiceStarted`, but `Deployment` for `StartDeployment`.
    pub(crate) fn event_stem(self) -> &'static str {
        match self {
            Self::CreateService => "CreateService",
            Self::UpdateService => "UpdateService",
            Self::StartDeployment => "Deployment",
            Self::PauseService => "PauseService",
            Self::ResumeService => "ResumeService",
            Self::DeleteService => "DeleteService",
        }
    }
}
