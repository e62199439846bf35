// The Python module: a thin skin over Runtime, Stream, Classifier and Slots. Arguments are checked here; the
// interpreter's lock is not held while the model works, and is taken again between tokens, so that Ctrl-C is heard.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "classifier.hpp"
#include "probe.hpp"
#include "slots.hpp"
#include "stream.hpp"
#include "text_ngrams.hpp"

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

nb::list texts(const std::vector<std::string>& all) {
    nb::list list;
    for (const std::string& each : all) list.append(text(each));
    return list;
}

nb::object metadata(const Runtime& runtime, const std::string& key) {
    const auto& known = runtime.model.file().metadata();
    const auto found = known.find(key);
    if (found == known.end()) return nb::none();
    if (const auto* one = std::get_if<std::string>(&found->second)) return text(*one);
    if (const auto* several = std::get_if<std::vector<std::string>>(&found->second)) return texts(*several);
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

// Runtime::score or Runtime::compare
template <auto how>
std::vector<double> score(Runtime& runtime, const Ids& prompt, const std::vector<Ids>& continuations,
                          const Prefix* prefix) {
    const nb::gil_scoped_release unlocked;
    return (runtime.*how)(prompt, continuations, of(runtime, prefix));
}

std::pair<double, double> peak(size_t bytes, int threads) {
    check_threads(threads);
    const nb::gil_scoped_release unlocked;
    const Peak found = probe(kernels(), bytes, static_cast<size_t>(threads));
    return {found.bytes, found.operations};
}

// Texts of Python as bytes, which live as long as this does.
class Bytes {
  public:
    explicit Bytes(nb::handle texts) {
        if (PyUnicode_Check(texts.ptr())) throw nb::type_error("one text: texts are a list of str");
        kept_ = nb::steal<nb::tuple>(PySequence_Tuple(texts.ptr()));
        if (!kept_.is_valid()) nb::raise_python_error();
        views_.reserve(nb::len(kept_));
        for (const nb::handle each : kept_) views_.push_back(bytes(each));
    }
    std::span<const std::string_view> views() const { return views_; }

  private:
    std::string_view bytes(nb::handle text) {
        if (!PyUnicode_Check(text.ptr())) throw nb::type_error("a text is a str");
        Py_ssize_t size = 0;
        if (const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size)) return {utf8, static_cast<size_t>(size)};
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) nb::raise_python_error();
        PyErr_Clear();  // halves of surrogates: bytes that are no UTF-8
        encoded_.push_back(nb::steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogatepass")));
        if (!encoded_.back().is_valid()) nb::raise_python_error();
        return {PyBytes_AS_STRING(encoded_.back().ptr()), static_cast<size_t>(PyBytes_GET_SIZE(encoded_.back().ptr()))};
    }

    nb::tuple kept_;
    std::vector<nb::object> encoded_;
    std::vector<std::string_view> views_;
};

std::unique_ptr<Classifier> open_classifier_file(const std::string& path, int threads,
                                                 const std::optional<std::string>& isa) {
    check_threads(threads);
    const nb::gil_scoped_release unlocked;
    const Means means{isa ? kernels(isa->c_str()) : kernels(), std::make_shared<ThreadPool>(threads)};
    return open_classifier(std::make_shared<const File>(path), means);
}

// Numbers of the answers, their probabilities, and the stages that gave them.
std::tuple<std::vector<uint32_t>, std::vector<float>, std::vector<uint32_t>> classify(Classifier& classifier,
                                                                                      const nb::sequence& texts) {
    const Bytes bytes(texts);
    std::vector<Choice> choices(bytes.views().size());
    std::vector<uint32_t> answers, stages;
    std::vector<float> probabilities;
    const nb::gil_scoped_release unlocked;
    classifier.classify(bytes.views(), choices);
    for (const Choice& choice : choices) {
        answers.push_back(choice.answer), probabilities.push_back(choice.probability);
        stages.push_back(choice.stage);
    }
    return {std::move(answers), std::move(probabilities), std::move(stages)};
}

std::unique_ptr<Slots> open_slots_file(const std::string& path, int threads) {
    check_threads(threads);
    const nb::gil_scoped_release unlocked;
    return std::make_unique<Slots>(std::make_shared<const File>(path), std::make_shared<ThreadPool>(threads));
}

// Answers, and the probability of each.
std::pair<nb::list, std::vector<float>> fill(Slots& slots, const nb::sequence& texts_in) {
    const Bytes bytes(texts_in);
    std::vector<Filled> filled(bytes.views().size());
    {
        const nb::gil_scoped_release unlocked;
        slots.fill(bytes.views(), filled);
    }
    nb::list answers;
    std::vector<float> probabilities;
    for (const Filled& each : filled) answers.append(text(each.text)), probabilities.push_back(each.probability);
    return {std::move(answers), std::move(probabilities)};
}

using Range = std::pair<uint32_t, uint32_t>;

// Each hash and how often it comes, by hash.
std::vector<std::pair<uint32_t, size_t>> ngram_hashes(const nb::str& text, const Range& words, const Range& chars) {
    const nb::tuple one = nb::make_tuple(text);
    const Bytes bytes(one);
    TextNgrams ngrams;
    ngrams.read(bytes.views()[0]);
    std::vector<uint32_t> hashes;
    const auto take = [&](uint32_t hash) { hashes.push_back(hash); };
    ngrams.words({words.first, words.second}, take);
    ngrams.characters({chars.first, chars.second}, take);
    std::sort(hashes.begin(), hashes.end());
    std::vector<std::pair<uint32_t, size_t>> times;
    for (const uint32_t hash : hashes) {
        if (times.empty() || times.back().first != hash) times.emplace_back(hash, 0);
        ++times.back().second;
    }
    return times;
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
        .def("score", &score<&Runtime::score>, nb::arg("prompt"), nb::arg("continuations"),
             nb::arg("prefix") = nb::none())
        .def("compare", &score<&Runtime::compare>, nb::arg("prompt"), nb::arg("continuations"),
             nb::arg("prefix") = nb::none());
    m.def("open", &open_file, nb::arg("path"), nb::arg("threads"), nb::arg("kernels") = nb::none());
    m.def("probe", &peak, nb::arg("bytes"), nb::arg("threads"));
    nb::class_<Classifier>(m, "Classifier")
        .def_prop_ro("answers", [](const Classifier& c) { return texts(c.answers()); })
        .def_prop_ro("kinds", [](const Classifier& c) { return texts(c.kinds()); })
        .def_prop_ro("threshold", &Classifier::threshold)
        .def_prop_ro("none", [](const Classifier& c) { return text(c.none()); })
        .def("classify", &classify, nb::arg("texts"));
    m.def("open_classifier", &open_classifier_file, nb::arg("path"), nb::arg("threads"),
          nb::arg("kernels") = nb::none());
    nb::class_<Slots>(m, "Slots").def("fill", &fill, nb::arg("texts"));
    m.def("open_slots", &open_slots_file, nb::arg("path"), nb::arg("threads"));
    m.def("ngram_hashes", &ngram_hashes, nb::arg("text"), nb::arg("words"), nb::arg("chars"));
    nb::class_<Prefix>(m, "Prefix");
    m.def("remember", &remember, nb::arg("runtime"), nb::arg("token_ids"));
    nb::class_<Stream>(m, "Stream")
        .def(
            "__init__",
            [](Stream* self, std::shared_ptr<Runtime> runtime, const Ids& prompt, size_t max_new_tokens,
               double temperature, double top_p, double min_p, uint64_t seed, const Ids& stop, const Prefix* prefix,
               bool lookup) {
                const Sequence* known = of(*runtime, prefix);
                new (self) Stream(std::move(runtime), prompt, max_new_tokens, {temperature, top_p, min_p, seed}, stop,
                                  known, lookup);
            },
            nb::arg("runtime"), nb::arg("prompt"), nb::arg("max_new_tokens"), nb::arg("temperature"), nb::arg("top_p"),
            nb::arg("min_p"), nb::arg("seed"), nb::arg("stop"), nb::arg("prefix") = nb::none(),
            nb::arg("lookup") = false)
        .def_prop_ro("ended", &Stream::ended)
        .def_prop_ro("known", &Stream::known)
        .def_prop_ro("guessed", &Stream::guessed)
        .def_prop_ro("right", &Stream::right)
        .def(
            "allow",
            [](Stream& self, const nb::bytes& tokens) {
                const auto* bits = static_cast<const uint8_t*>(tokens.data());
                return self.allow({bits, tokens.size()});
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
