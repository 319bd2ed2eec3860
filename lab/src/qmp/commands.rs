//! The commands, and what they return (QEMU `qapi/`).

use super::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An object without, or of no interest for, its members.
#[derive(Debug, Deserialize)]
pub struct Empty {}

macro_rules! command {
    (
        $(#[$doc:meta])* $type:ident = $name:literal -> $return:ty {
            $($(#[$field_doc:meta])* $field:ident: $field_type:ty),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct $type { $($(#[$field_doc])* pub $field: $field_type),* }
        impl Command for $type {
            const NAME: &'static str = $name;
            type Return = $return;
        }
    };
}

command!(
    /// Leaves negotiation mode.
    Capabilities = "qmp_capabilities" -> Empty {}
);
command!(
    /// Starts a migration.
    Migrate = "migrate" -> Empty {
        /// Where to, as `-incoming` takes it.
        uri: String,
    }
);
command!(
    /// Cancels the migration.
    MigrateCancel = "migrate_cancel" -> Empty {}
);
command!(
    /// How the migration is going.
    QueryMigrate = "query-migrate" -> MigrationInfo {}
);
command!(
    /// Sets capabilities.
    MigrateSetCapabilities = "migrate-set-capabilities" -> Empty {
        /// Those to be changed.
        capabilities: Vec<Capability>,
    }
);
command!(
    /// Sets parameters, also while a migration runs.
    MigrateSetParameters = "migrate-set-parameters" -> Empty {
        /// Bytes a second.
        max_bandwidth: u64,
        /// Bytes a second to reckon with in the switchover, to which the limit does not apply. No
        /// QEMU before 8.2 knows it.
        #[serde(skip_serializing_if = "Option::is_none")]
        avail_switchover_bandwidth: Option<u64>,
        /// Milliseconds.
        downtime_limit: u64,
    }
);
command!(
    /// Whether the machine runs.
    QueryStatus = "query-status" -> Status {}
);
command!(
    /// Lets the machine run.
    Cont = "cont" -> Empty {}
);
command!(
    /// Stops the machine.
    Stop = "stop" -> Empty {}
);
command!(
    /// Cuts connections of QEMU's own.
    Yank = "yank" -> Empty {
        /// Which.
        instances: Vec<YankInstance>,
    }
);
command!(
    /// A command of the monitor for people, whose answer comes as text.
    HumanMonitorCommand = "human-monitor-command" -> String {
        /// The command.
        command_line: String,
    }
);
command!(
    /// Sends the machine's processors an interrupt that cannot be masked.
    InjectNmi = "inject-nmi" -> Empty {}
);
command!(
    /// Takes the link of a NIC down, or brings it up.
    SetLink = "set_link" -> Empty {
        /// Id of the NIC or of its netdev.
        name: String,
        /// Up, else down.
        up: bool,
    }
);
command!(
    /// Makes an object that belongs to a netdev and a file.
    ObjectAdd = "object-add" -> Empty {
        /// Its type, as `filter-dump`.
        qom_type: String,
        /// Its id.
        id: String,
        /// Id of the netdev.
        netdev: String,
        /// The file.
        file: String,
    }
);
command!(
    /// Ends an object.
    ObjectDel = "object-del" -> Empty {
        /// Its id.
        id: String,
    }
);
command!(
    /// Asks the guest to give a device back.
    DeviceDel = "device_del" -> Empty {
        /// Its id.
        id: String,
    }
);

/// A connection of QEMU's own.
#[derive(Debug, Serialize)]
pub struct YankInstance {
    /// What for: `migration`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Plugs in a device.
#[derive(Debug, Serialize)]
pub struct DeviceAdd {
    /// Its driver, its id, and what else is said of it.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

impl Command for DeviceAdd {
    const NAME: &'static str = "device_add";
    type Return = Empty;
}

/// Of a machine.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// `running`, `paused`, `inmigrate`, `postmigrate`, and others.
    pub status: String,
}

/// Reads a property.
#[derive(Debug, Serialize)]
pub struct QomGet {
    /// Of the object at this path.
    pub path: String,
    /// Its name.
    pub property: String,
}

impl Command for QomGet {
    const NAME: &'static str = "qom-get";
    type Return = Value;
}

/// Reads what KVM counts about each of the machine's processors.
#[derive(Debug, Serialize)]
pub struct QueryStats {
    target: &'static str,
    providers: [Provider; 1],
}

#[derive(Debug, Serialize)]
struct Provider {
    provider: &'static str,
    names: Vec<&'static str>,
}

impl QueryStats {
    /// The counts of these names.
    #[must_use]
    pub fn of_processors(names: &[&'static str]) -> Self {
        Self { target: "vcpu", providers: [Provider { provider: "kvm", names: names.to_vec() }] }
    }
}

impl Command for QueryStats {
    const NAME: &'static str = "query-stats";
    /// One for each processor; none without KVM.
    type Return = Vec<Statistics>;
}

/// Counts of one processor.
#[derive(Debug, Deserialize)]
pub struct Statistics {
    /// By name.
    pub stats: Vec<Statistic>,
}

/// A count.
#[derive(Debug, Deserialize)]
pub struct Statistic {
    /// Its name.
    pub name: String,
    /// A number, or several.
    pub value: Value,
}

/// Lists an object's properties.
#[derive(Debug, Serialize)]
pub struct QomList {
    /// Of the object at this path.
    pub path: String,
}

impl Command for QomList {
    const NAME: &'static str = "qom-list";
    type Return = Vec<Property>;
}

/// A property of an object.
#[derive(Debug, Deserialize)]
pub struct Property {
    /// Its name.
    pub name: String,
}

/// A capability and its new state.
#[derive(Debug, Serialize)]
pub struct Capability {
    /// Its name.
    pub capability: String,
    /// On or off.
    pub state: bool,
}

/// How a migration is going.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct MigrationInfo {
    /// `setup`, `active`, `device`, `completed`, `cancelling`, `cancelled`, `failed`, and others;
    /// none before the first.
    pub status: Option<String>,
    /// Milliseconds since it began, or that it took.
    pub total_time: Option<u64>,
    /// Milliseconds the machine was stopped, at the end.
    pub downtime: Option<u64>,
    /// Figures about memory.
    pub ram: Option<RamStatistics>,
    /// Why it failed.
    pub error_desc: Option<String>,
}

/// What of memory has been copied.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RamStatistics {
    /// Bytes sent.
    pub transferred: u64,
    /// Bytes still to be sent.
    pub remaining: u64,
    /// Bytes of memory.
    pub total: u64,
    /// Times the log was read: passes over memory.
    pub dirty_sync_count: u64,
    /// Pages a second that were written before it was last read.
    pub dirty_pages_rate: u64,
    /// Bytes of a page.
    pub page_size: u64,
}
