// The Python module: a thin skin over Runtime and Stream. Arguments are checked here; the interpreter's lock is not
// held while the model works, and is taken again between tokens, so that Ctrl-C is heard.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "probe.hpp"
#include "stream.hpp"

namespace nb = nanobind;
using namespace filament;

namespace {

constexpr size_t kMostThreads = 1024;

void check_threads(int threads) {
    if (threads < 1 || static_cast<size_t>(threads) > kMostThreads)
        throw Error(std::to_string(threads) + " threads cannot work");
}

std::shared_ptr<Runtime> open_file(const std::string& path, int threads, const std::optional<std::string>& isa) {
    check_threads(threads);
    const nb::gil_scoped_release unlocked;
    return std::make_shared<Runtime>(path, static_cast<size_t>(threads), isa ? kernels(isa->c_str()) : kernels());
}

// Text of a file may be no UTF-8; what is not becomes U+FFFD.
nb::object text(const std::string& bytes) {
    return nb::steal(PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

nb::object metadata(const Runtime& runtime, const std::string& key) {
    const auto& known = runtime.model.file().metadata();
    const auto found = known.find(key);
    if (found == known.end()) return nb::none();
    if (const auto* one = std::get_if<std::string>(&found->second)) return text(*one);
    if (const auto* several = std::get_if<std::vector<std::string>>(&found->second)) {
        nb::list texts;
        for (const std::string& each : *several) texts.append(text(each));
        return texts;
    }
    return nb::cast(found->second);
}

nb::ndarray<nb::numpy, float, nb::ndim<2>> logits(Runtime& runtime, const Ids& ids) {
    auto owner = std::make_unique<std::vector<float>>();
    {
        const nb::gil_scoped_release unlocked;
        *owner = runtime.logits(ids);
    }
    float* data = owner->data();
    nb::capsule kept(owner.release(), [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
    return {data, {ids.size(), runtime.model.vocabulary}, kept};
}

// A text that was read, kept together with the model it belongs to.
struct Prefix {
    std::shared_ptr<Runtime> runtime;
    std::shared_ptr<const Sequence> sequence;
};

Prefix remember(const std::shared_ptr<Runtime>& runtime, const Ids& ids) {
    const nb::gil_scoped_release unlocked;
    return {runtime, runtime->remember(ids)};
}

const Sequence* of(const Runtime& runtime, const Prefix* prefix) {
    if (!prefix) return nullptr;
    if (prefix->runtime.get() != &runtime) throw Error("a prefix of another model");
    return prefix->sequence.get();
}

std::vector<double> score(Runtime& runtime, const Ids& prompt, const std::vector<Ids>& continuations,
                          const Prefix* prefix) {
    const nb::gil_scoped_release unlocked;
    return runtime.score(prompt, continuations, of(runtime, prefix));
}

std::pair<double, double> peak(size_t bytes, int threads) {
    check_threads(threads);
    const nb::gil_scoped_release unlocked;
    const Peak found = probe(kernels(), bytes, static_cast<size_t>(threads));
    return {found.bytes, found.operations};
}

}  // namespace

NB_MODULE(_native, m) {
    static PyObject* error = PyErr_NewException("lightbulb_filament.FilamentError", PyExc_ValueError, nullptr);
    m.attr("FilamentError") = nb::borrow(error);
    nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
        try {
            std::rethrow_exception(thrown);
        } catch (const Error& e) {
            PyErr_SetObject(error, text(e.what()).ptr());
        }
    });
    m.def("available", [] { return available(); });
    nb::class_<Runtime>(m, "Runtime")
        .def_prop_ro("vocabulary", [](const Runtime& r) { return r.model.vocabulary; })
        .def_prop_ro("context", [](const Runtime& r) { return r.model.context; })
        .def_prop_ro("threads", [](const Runtime& r) { return r.model.pool().size(); })
        .def_prop_ro("kernels", [](const Runtime& r) { return r.model.kernels().name; })
        .def_prop_ro("weight_bytes", [](const Runtime& r) { return r.model.weight_bytes; })
        .def(
            "cost",
            [](const Runtime& r, size_t context) {
                const auto cost = r.model.cost(context);
                return std::pair(cost.bytes, cost.operations);
            },
            nb::arg("context"))
        .def("metadata", &metadata, nb::arg("key"))
        .def("logits", &logits, nb::arg("token_ids"))
        .def("score", &score, nb::arg("prompt"), nb::arg("continuations"), nb::arg("prefix") = nb::none());
    m.def("open", &open_file, nb::arg("path"), nb::arg("threads"), nb::arg("kernels") = nb::none());
    m.def("probe", &peak, nb::arg("bytes"), nb::arg("threads"));
    nb::class_<Prefix>(m, "Prefix");
    m.def("remember", &remember, nb::arg("runtime"), nb::arg("token_ids"));
    nb::class_<Stream>(m, "Stream")
        .def(
            "__init__",
            [](Stream* self, std::shared_ptr<Runtime> runtime, const Ids& prompt, size_t max_new_tokens,
               double temperature, double top_p, double min_p, uint64_t seed, const Ids& stop, const Prefix* prefix) {
                const Sequence* known = of(*runtime, prefix);
                new (self)
                    Stream(std::move(runtime), prompt, max_new_tokens, {temperature, top_p, min_p, seed}, stop, known);
            },
            nb::arg("runtime"), nb::arg("prompt"), nb::arg("max_new_tokens"), nb::arg("temperature"), nb::arg("top_p"),
            nb::arg("min_p"), nb::arg("seed"), nb::arg("stop"), nb::arg("prefix") = nb::none())
        .def_prop_ro("ended", &Stream::ended)
        .def_prop_ro("known", &Stream::known)
        .def(
            "allow",
            [](Stream& self, const nb::bytes& tokens) {
                const auto* bits = static_cast<const uint8_t*>(tokens.data());
                self.allow({bits, bits + tokens.size()});
            },
            nb::arg("tokens"));
    m.def(
        "advance",
        [](const std::vector<Stream*>& streams, size_t steps) {
            const nb::gil_scoped_release unlocked;
            return Stream::advance(streams, steps);
        },
        nb::arg("streams"), nb::arg("steps"));
}
