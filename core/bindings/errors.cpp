#include <nanobind/nanobind.h>

#include <cerrno>

#include "bindings/bindings.hpp"
#include "error.hpp"

namespace nb = nanobind;

namespace outcrop::bindings {

namespace {

void raise(const char* class_name, const Error& error) {
  nb::object type = nb::module_::import_("outcrop.errors").attr(class_name);
  PyErr_SetObject(type.ptr(), nb::str(error.what()).ptr());
}

void raise_storage_failure(const StorageFailure& error) {
  nb::object type = nb::module_::import_("outcrop.errors").attr("StorageFailure");
  nb::object value = type(error.error_number, nb::str(error.what()));
  PyErr_SetObject(type.ptr(), value.ptr());
}

void translate(const std::exception_ptr& caught, void*) {
  try {
    std::rethrow_exception(caught);
  } catch (const InvalidArgument& error) {
    raise("InvalidArgument", error);
  } catch (const CorruptFile& error) {
    raise("CorruptFile", error);
  } catch (const UnsupportedFormat& error) {
    raise("UnsupportedFormat", error);
  } catch (const StorageFailure& error) {
    raise_storage_failure(error);
  } catch (const ResourceExhausted& error) {
    raise("ResourceExhausted", error);
  } catch (const DeadlineExceeded& error) {
    raise("DeadlineExceeded", error);
  } catch (const Cancelled& error) {
    raise("Cancelled", error);
  }
}

}  // namespace

void bind_errors(nb::module_&) { nb::register_exception_translator(translate); }

}  // namespace outcrop::bindings
