//! The functions of libvirt that we need, found at run time, and nothing else: this is the only file with `unsafe`
//! calls into it. The library is loaded when the driver starts, so that `wright` runs where libvirt is not installed.
//! Every call blocks; `pool.rs` keeps them off the async threads.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr;

use libloading::Library;

/// A failed libvirt call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LibvirtError {
    /// The library is not there or too old.
    #[error("libvirt cannot be loaded: {0} (package libvirt0)")]
    Load(String),
    /// libvirt's own words.
    #[error("{message}")]
    Call {
        /// `virErrorNumber`.
        code: i32,
        /// The text.
        message: String,
    },
    /// A string with a zero byte.
    #[error("text with a zero byte")]
    Nul,
}

/// `VIR_ERR_NO_DOMAIN`.
pub const NO_DOMAIN: i32 = 42;
/// `VIR_ERR_OPERATION_INVALID`: for example destroying a domain that does not run.
pub const OPERATION_INVALID: i32 = 55;
/// `VIR_ERR_INTERNAL_ERROR`.
const INTERNAL_ERROR: i32 = 1;
/// Codes that speak of the connection, not of the request: `VIR_ERR_NO_CONNECT`, `VIR_ERR_INVALID_CONN`,
/// `VIR_ERR_SYSTEM_ERROR`, `VIR_ERR_RPC`.
const CONNECTION: [i32; 4] = [5, 6, 38, 39];

impl LibvirtError {
    /// The domain is not defined.
    pub fn is_no_domain(&self) -> bool {
        matches!(self, LibvirtError::Call { code, .. } if *code == NO_DOMAIN)
    }

    /// The domain is in a state in which this makes no sense.
    pub fn is_operation_invalid(&self) -> bool {
        matches!(self, LibvirtError::Call { code, .. } if *code == OPERATION_INVALID)
    }

    /// The daemon is not reachable, or went away.
    pub fn is_connection(&self) -> bool {
        matches!(self, LibvirtError::Call { code, message } if CONNECTION.contains(code)
            || (*code == INTERNAL_ERROR && message.contains("client socket is closed")))
    }
}

type Conn = *mut c_void;
type Dom = *mut c_void;

/// `virDomainState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainState {
    /// 0
    NoState,
    /// 1, 2 (blocked on a resource)
    Running,
    /// 3
    Paused,
    /// 4
    ShuttingDown,
    /// 5
    ShutOff,
    /// 6
    Crashed,
    /// 7
    PmSuspended,
}

#[repr(C)]
struct NodeInfoRaw {
    model: [c_char; 32],
    memory: c_ulong,
    cpus: c_uint,
    mhz: c_uint,
    nodes: c_uint,
    sockets: c_uint,
    cores: c_uint,
    threads: c_uint,
}

/// `virNodeInfo`.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// Architecture.
    pub model: String,
    /// KiB.
    pub memory_kib: u64,
    /// Logical processors.
    pub cpus: u32,
    /// Per node.
    pub sockets: u32,
    /// Per socket.
    pub cores: u32,
    /// Per core.
    pub threads: u32,
}

macro_rules! functions {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        #[allow(non_snake_case)]
        struct Functions { $($name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Functions {
            fn load(library: &Library) -> Result<Self, LibvirtError> {
                Ok(Self { $($name: {
                    // SAFETY: the type above is the function's in libvirt's public header, stable since 1.0; the
                    // pointer is used only while `Library`, which is never dropped (see `Libvirt::load`), is open.
                    *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                        .map_err(|error| LibvirtError::Load(error.to_string()))?
                },)* })
            }
        }
    };
}

functions! {
    virInitialize: fn() -> c_int;
    virSetErrorFunc: fn(*mut c_void, Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>);
    virGetLastErrorCode: fn() -> c_int;
    virGetLastErrorMessage: fn() -> *const c_char;
    virConnectOpen: fn(*const c_char) -> Conn;
    virConnectClose: fn(Conn) -> c_int;
    virConnectIsAlive: fn(Conn) -> c_int;
    virConnectGetVersion: fn(Conn, *mut c_ulong) -> c_int;
    virConnectGetCapabilities: fn(Conn) -> *mut c_char;
    virConnectListAllDomains: fn(Conn, *mut *mut Dom, c_uint) -> c_int;
    virNodeGetInfo: fn(Conn, *mut NodeInfoRaw) -> c_int;
    virDomainDefineXMLFlags: fn(Conn, *const c_char, c_uint) -> Dom;
    virDomainCreateXML: fn(Conn, *const c_char, c_uint) -> Dom;
    virDomainLookupByUUIDString: fn(Conn, *const c_char) -> Dom;
    virDomainFree: fn(Dom) -> c_int;
    virDomainCreate: fn(Dom) -> c_int;
    virDomainDestroy: fn(Dom) -> c_int;
    virDomainShutdown: fn(Dom) -> c_int;
    virDomainReboot: fn(Dom, c_uint) -> c_int;
    virDomainSuspend: fn(Dom) -> c_int;
    virDomainResume: fn(Dom) -> c_int;
    virDomainManagedSave: fn(Dom, c_uint) -> c_int;
    virDomainHasManagedSaveImage: fn(Dom, c_uint) -> c_int;
    virDomainUndefineFlags: fn(Dom, c_uint) -> c_int;
    virDomainGetState: fn(Dom, *mut c_int, *mut c_int, c_uint) -> c_int;
    virDomainGetUUIDString: fn(Dom, *mut c_char) -> c_int;
    virDomainGetXMLDesc: fn(Dom, c_uint) -> *mut c_char;
    virDomainAttachDeviceFlags: fn(Dom, *const c_char, c_uint) -> c_int;
    virDomainDetachDeviceFlags: fn(Dom, *const c_char, c_uint) -> c_int;
}

/// The loaded library.
pub struct Libvirt {
    functions: Functions,
}

/// libvirt prints errors to stderr unless told otherwise; ours go to the log with their context.
unsafe extern "C" fn silent(_user: *mut c_void, _error: *mut c_void) {}

impl Libvirt {
    /// Loads `libvirt.so.0`, once for the life of the process.
    pub fn load() -> Result<&'static Libvirt, LibvirtError> {
        static LIBVIRT: std::sync::OnceLock<Result<Libvirt, LibvirtError>> =
            std::sync::OnceLock::new();
        let loaded = LIBVIRT.get_or_init(|| {
            // SAFETY: libvirt's load-time constructors have no requirements on the caller.
            let library = unsafe { Library::new("libvirt.so.0") }
                .map_err(|error| LibvirtError::Load(error.to_string()))?;
            let functions = Functions::load(&library)?;
            // The library has threads of its own: it must never be unloaded.
            std::mem::forget(library);
            // SAFETY: `virInitialize` may be called at any time; the error function ignores its arguments.
            let status = unsafe {
                (functions.virSetErrorFunc)(ptr::null_mut(), Some(silent));
                (functions.virInitialize)()
            };
            if status < 0 {
                return Err(LibvirtError::Load("virInitialize failed".into()));
            }
            Ok(Libvirt { functions })
        });
        loaded.as_ref().map_err(Clone::clone)
    }

    /// The last error of this thread. Called right after the failed call, on the same thread.
    fn error(&self) -> LibvirtError {
        // SAFETY: both read thread-local state; the message is copied before any further call.
        unsafe {
            let code = (self.functions.virGetLastErrorCode)();
            let message = (self.functions.virGetLastErrorMessage)();
            let message = if message.is_null() {
                "unknown error".to_owned()
            } else {
                CStr::from_ptr(message).to_string_lossy().into_owned()
            };
            LibvirtError::Call { code, message }
        }
    }

    fn check(&self, status: c_int) -> Result<c_int, LibvirtError> {
        if status < 0 {
            Err(self.error())
        } else {
            Ok(status)
        }
    }

    /// Takes a string that libvirt allocated with `malloc`.
    fn take_string(&self, text: *mut c_char) -> Result<String, LibvirtError> {
        if text.is_null() {
            return Err(self.error());
        }
        // SAFETY: not null, terminated, and ours to free with the C library's `free`, as the header says.
        unsafe {
            let out = CStr::from_ptr(text).to_string_lossy().into_owned();
            libc::free(text.cast());
            Ok(out)
        }
    }
}

/// A connection. libvirt allows its use from several threads at once.
pub struct Connection {
    lib: &'static Libvirt,
    conn: Conn,
}

// SAFETY: libvirt documents connection objects as usable from any thread, with its own locking.
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: `conn` came from `virConnectOpen` and is closed once.
        unsafe { (self.lib.functions.virConnectClose)(self.conn) };
    }
}

fn text(text: &str) -> Result<CString, LibvirtError> {
    CString::new(text).map_err(|_| LibvirtError::Nul)
}

impl Connection {
    /// Opens `uri`, for example `qemu:///system`.
    pub fn open(uri: &str) -> Result<Self, LibvirtError> {
        let lib = Libvirt::load()?;
        let uri = text(uri)?;
        // SAFETY: a terminated string that lives through the call.
        let conn = unsafe { (lib.functions.virConnectOpen)(uri.as_ptr()) };
        if conn.is_null() {
            Err(lib.error())
        } else {
            Ok(Self { lib, conn })
        }
    }

    fn f(&self) -> &Functions {
        &self.lib.functions
    }

    /// Whether the daemon is still at the other end.
    pub fn is_alive(&self) -> bool {
        // SAFETY: `conn` is open as long as `self` lives; the same holds for every use of it below.
        unsafe { (self.f().virConnectIsAlive)(self.conn) == 1 }
    }

    /// The hypervisor's version: major * 1 000 000 + minor * 1 000 + release.
    pub fn version(&self) -> Result<u64, LibvirtError> {
        let mut version: c_ulong = 0;
        // SAFETY: the pointer is to a local of the right type.
        let status = unsafe { (self.f().virConnectGetVersion)(self.conn, &mut version) };
        self.lib.check(status)?;
        Ok(version)
    }

    /// Capabilities as XML.
    pub fn capabilities(&self) -> Result<String, LibvirtError> {
        // SAFETY: see `is_alive`.
        let text = unsafe { (self.f().virConnectGetCapabilities)(self.conn) };
        self.lib.take_string(text)
    }

    /// Processors and memory of the host.
    pub fn node_info(&self) -> Result<NodeInfo, LibvirtError> {
        let mut raw = NodeInfoRaw {
            model: [0; 32],
            memory: 0,
            cpus: 0,
            mhz: 0,
            nodes: 0,
            sockets: 0,
            cores: 0,
            threads: 0,
        };
        // SAFETY: the struct has the layout of `virNodeInfo`; libvirt terminates `model`.
        let (status, model) = unsafe {
            let status = (self.f().virNodeGetInfo)(self.conn, &mut raw);
            raw.model[31] = 0;
            (
                status,
                CStr::from_ptr(raw.model.as_ptr())
                    .to_string_lossy()
                    .into_owned(),
            )
        };
        self.lib.check(status)?;
        Ok(NodeInfo {
            model,
            memory_kib: raw.memory,
            cpus: raw.cpus,
            sockets: raw.sockets,
            cores: raw.cores,
            threads: raw.threads,
        })
    }

    fn domain(&self, dom: Dom) -> Result<Domain<'_>, LibvirtError> {
        if dom.is_null() {
            Err(self.lib.error())
        } else {
            Ok(Domain {
                connection: self,
                dom,
            })
        }
    }

    /// Defines a domain, or redefines it.
    pub fn define(&self, xml: &str) -> Result<Domain<'_>, LibvirtError> {
        let xml = text(xml)?;
        // SAFETY: a terminated string that lives through the call.
        let dom = unsafe { (self.f().virDomainDefineXMLFlags)(self.conn, xml.as_ptr(), 0) };
        self.domain(dom)
    }

    /// Starts a domain that is not kept: gone when it stops. With `auto_destroy` also when this connection closes.
    pub fn create_transient(
        &self,
        xml: &str,
        auto_destroy: bool,
    ) -> Result<Domain<'_>, LibvirtError> {
        let xml = text(xml)?;
        // SAFETY: as above; flag 2 is VIR_DOMAIN_START_AUTODESTROY.
        let dom = unsafe {
            (self.f().virDomainCreateXML)(self.conn, xml.as_ptr(), if auto_destroy { 2 } else { 0 })
        };
        self.domain(dom)
    }

    /// Finds a domain by its UUID; `None` when there is none.
    pub fn lookup(&self, uuid: &str) -> Result<Option<Domain<'_>>, LibvirtError> {
        let uuid = text(uuid)?;
        // SAFETY: as above.
        let dom = unsafe { (self.f().virDomainLookupByUUIDString)(self.conn, uuid.as_ptr()) };
        match self.domain(dom) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if error.is_no_domain() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All domains, running or not.
    pub fn domains(&self) -> Result<Vec<Domain<'_>>, LibvirtError> {
        let mut list: *mut Dom = ptr::null_mut();
        // SAFETY: libvirt stores a malloc'ed array of `count` references there, which become ours.
        let count = unsafe { (self.f().virConnectListAllDomains)(self.conn, &mut list, 0) };
        let count = self.lib.check(count)? as usize;
        // SAFETY: the array has `count` entries; each is freed by its `Domain`, the array here.
        let domains = unsafe {
            (0..count)
                .map(|i| Domain {
                    connection: self,
                    dom: *list.add(i),
                })
                .collect()
        };
        // SAFETY: allocated by libvirt with malloc, as the header says; null is allowed.
        unsafe { libc::free(list.cast()) };
        Ok(domains)
    }
}

/// A domain of a connection.
pub struct Domain<'a> {
    connection: &'a Connection,
    dom: Dom,
}

impl Drop for Domain<'_> {
    fn drop(&mut self) {
        // SAFETY: one reference, given back once.
        unsafe { (self.connection.f().virDomainFree)(self.dom) };
    }
}

/// `VIR_DOMAIN_AFFECT_LIVE`.
const AFFECT_LIVE: c_uint = 1;
/// `VIR_DOMAIN_AFFECT_CONFIG`.
const AFFECT_CONFIG: c_uint = 2;
/// `VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | SNAPSHOTS_METADATA | NVRAM`.
const UNDEFINE_ALL: c_uint = 1 | 2 | 4;

impl Domain<'_> {
    fn f(&self) -> &Functions {
        self.connection.f()
    }

    fn check(&self, status: c_int) -> Result<c_int, LibvirtError> {
        self.connection.lib.check(status)
    }

    /// Starts it (from saved memory, when there is some).
    pub fn start(&self) -> Result<(), LibvirtError> {
        // SAFETY: `dom` is a live reference; the same holds for every call below.
        self.check(unsafe { (self.f().virDomainCreate)(self.dom) })
            .map(drop)
    }

    /// Pulls the plug.
    pub fn destroy(&self) -> Result<(), LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainDestroy)(self.dom) })
            .map(drop)
    }

    /// Presses the power button.
    pub fn shutdown(&self) -> Result<(), LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainShutdown)(self.dom) })
            .map(drop)
    }

    /// Asks the guest to restart.
    pub fn reboot(&self) -> Result<(), LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainReboot)(self.dom, 0) })
            .map(drop)
    }

    /// Freezes the processors.
    pub fn pause(&self) -> Result<(), LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainSuspend)(self.dom) })
            .map(drop)
    }

    /// Lets them run again.
    pub fn unpause(&self) -> Result<(), LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainResume)(self.dom) })
            .map(drop)
    }

    /// Saves memory to disk and stops.
    pub fn managed_save(&self) -> Result<(), LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainManagedSave)(self.dom, 0) })
            .map(drop)
    }

    /// Whether memory is saved.
    pub fn has_managed_save(&self) -> Result<bool, LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainHasManagedSaveImage)(self.dom, 0) })
            .map(|answer| answer == 1)
    }

    /// Forgets the domain, its saved memory and its snapshots' metadata.
    pub fn undefine(&self) -> Result<(), LibvirtError> {
        // SAFETY: see `start`.
        self.check(unsafe { (self.f().virDomainUndefineFlags)(self.dom, UNDEFINE_ALL) })
            .map(drop)
    }

    /// The state now.
    pub fn state(&self) -> Result<DomainState, LibvirtError> {
        let (mut state, mut reason): (c_int, c_int) = (0, 0);
        // SAFETY: pointers to locals of the right type.
        self.check(unsafe { (self.f().virDomainGetState)(self.dom, &mut state, &mut reason, 0) })?;
        Ok(match state {
            1 | 2 => DomainState::Running,
            3 => DomainState::Paused,
            4 => DomainState::ShuttingDown,
            5 => DomainState::ShutOff,
            6 => DomainState::Crashed,
            7 => DomainState::PmSuspended,
            _ => DomainState::NoState,
        })
    }

    /// The UUID as text.
    pub fn uuid(&self) -> Result<String, LibvirtError> {
        let mut buffer = [0 as c_char; 37]; // VIR_UUID_STRING_BUFLEN
        // SAFETY: the buffer has the length that the header demands; libvirt terminates it.
        self.check(unsafe { (self.f().virDomainGetUUIDString)(self.dom, buffer.as_mut_ptr()) })?;
        // SAFETY: terminated, see above.
        Ok(unsafe { CStr::from_ptr(buffer.as_ptr()) }
            .to_string_lossy()
            .into_owned())
    }

    /// The definition as libvirt completed it.
    pub fn xml(&self) -> Result<String, LibvirtError> {
        // SAFETY: see `start`.
        let text = unsafe { (self.f().virDomainGetXMLDesc)(self.dom, 0) };
        self.connection.lib.take_string(text)
    }

    /// Plugs a device into the definition, and into the running guest when `live`.
    pub fn attach(&self, xml: &str, live: bool) -> Result<(), LibvirtError> {
        let xml = text(xml)?;
        let flags = AFFECT_CONFIG | if live { AFFECT_LIVE } else { 0 };
        // SAFETY: see `start`; the string lives through the call.
        self.check(unsafe { (self.f().virDomainAttachDeviceFlags)(self.dom, xml.as_ptr(), flags) })
            .map(drop)
    }

    /// Unplugs a device.
    pub fn detach(&self, xml: &str, live: bool) -> Result<(), LibvirtError> {
        let xml = text(xml)?;
        let flags = AFFECT_CONFIG | if live { AFFECT_LIVE } else { 0 };
        // SAFETY: see `start`; the string lives through the call.
        self.check(unsafe { (self.f().virDomainDetachDeviceFlags)(self.dom, xml.as_ptr(), flags) })
            .map(drop)
    }
}
