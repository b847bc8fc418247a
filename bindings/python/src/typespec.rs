//! Builds heap types from tables of functions.
//!
//! The types that are touched once per callback or per packet are made this way instead of with
//! `#[pyclass]`: they need free lists, `METH_FASTCALL` with keywords and no argument tuple, a
//! layout behind a Python base class, and no borrow flag.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use pyo3::ffi;

use crate::py::{Obj, PyRes, Ref};

pub(crate) struct TypeBuilder {
    name: &'static CStr,
    basicsize: usize,
    flags: std::ffi::c_ulong,
    methods: Vec<ffi::PyMethodDef>,
    getset: Vec<ffi::PyGetSetDef>,
    slots: Vec<ffi::PyType_Slot>,
}

impl TypeBuilder {
    /// A garbage-collected type whose instances have `basicsize` bytes.
    pub(crate) fn new(name: &'static CStr, doc: &'static CStr, basicsize: usize) -> TypeBuilder {
        let doc = ffi::PyType_Slot {
            slot: ffi::Py_tp_doc,
            pfunc: doc.as_ptr() as *mut c_void,
        };
        TypeBuilder {
            name,
            basicsize,
            flags: ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC,
            methods: Vec::new(),
            getset: Vec::new(),
            slots: vec![doc],
        }
    }

    pub(crate) fn flags(mut self, flags: std::ffi::c_ulong) -> Self {
        self.flags |= flags;
        self
    }

    /// Sets a slot; `function` must have the type that CPython documents for `slot`.
    pub(crate) fn slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slots.push(ffi::PyType_Slot {
            slot,
            pfunc: function,
        });
        self
    }

    fn method(mut self, name: &'static CStr, meth: ffi::PyMethodDefPointer, flags: c_int) -> Self {
        self.methods.push(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: meth,
            ml_flags: flags,
            ml_doc: ptr::null(),
        });
        self
    }

    /// A method without arguments; the second parameter is always null.
    pub(crate) fn noargs(self, name: &'static CStr, f: ffi::PyCFunction) -> Self {
        self.method(
            name,
            ffi::PyMethodDefPointer { PyCFunction: f },
            ffi::METH_NOARGS,
        )
    }

    /// A method with exactly one positional argument.
    pub(crate) fn one(self, name: &'static CStr, f: ffi::PyCFunction) -> Self {
        self.method(
            name,
            ffi::PyMethodDefPointer { PyCFunction: f },
            ffi::METH_O,
        )
    }

    /// A method with positional arguments.
    pub(crate) fn positional(self, name: &'static CStr, f: ffi::PyCFunctionFast) -> Self {
        self.method(
            name,
            ffi::PyMethodDefPointer { PyCFunctionFast: f },
            ffi::METH_FASTCALL,
        )
    }

    /// A method with positional and keyword arguments.
    pub(crate) fn keywords(self, name: &'static CStr, f: ffi::PyCFunctionFastWithKeywords) -> Self {
        self.method(
            name,
            ffi::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: f,
            },
            ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        )
    }

    /// A computed attribute, read-only unless `set` is given.
    pub(crate) fn attribute(
        mut self,
        name: &'static CStr,
        get: ffi::getter,
        set: Option<ffi::setter>,
    ) -> Self {
        self.getset.push(ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(get),
            set,
            doc: ptr::null(),
            closure: ptr::null_mut(),
        });
        self
    }

    /// Makes the type. Its tables live as long as the process, as the type does.
    pub(crate) fn build(mut self, base: Option<Obj>) -> PyRes<Ref> {
        self.methods.push(ffi::PyMethodDef::zeroed());
        self.getset.push(ffi::PyGetSetDef::default());
        let methods = Vec::leak(self.methods).as_mut_ptr().cast();
        let getset = Vec::leak(self.getset).as_mut_ptr().cast();
        self.slots.push(ffi::PyType_Slot {
            slot: ffi::Py_tp_methods,
            pfunc: methods,
        });
        self.slots.push(ffi::PyType_Slot {
            slot: ffi::Py_tp_getset,
            pfunc: getset,
        });
        self.slots.push(ffi::PyType_Slot::default());
        let mut spec = ffi::PyType_Spec {
            name: self.name.as_ptr(),
            basicsize: self.basicsize as c_int,
            itemsize: 0,
            flags: self.flags as std::ffi::c_uint,
            slots: self.slots.as_mut_ptr(),
        };
        // SAFETY: the spec, its slots and their tables are complete and end in zeroed entries;
        // CPython copies the spec and keeps pointers only into the leaked tables and the name.
        unsafe {
            let bases = match base {
                Some(base) => Some(Ref::owned(ffi::PyTuple_Pack(1, base))?),
                None => None,
            };
            let bases = bases.as_ref().map_or(ptr::null_mut(), Ref::as_ptr);
            Ref::owned(ffi::PyType_FromSpecWithBases(&mut spec, bases))
        }
    }
}
