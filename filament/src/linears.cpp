#include "linears.hpp"

#include <atomic>
#include <fstream>
#include <new>

namespace filament {
namespace {

constexpr int64_t kMost = int64_t{1} << 24;           // of any width or count: far more than any model has
constexpr size_t kAhead = 16384, kLittleAhead = 512;  // bytes; see fetched_ahead

// From the third cache weights come a quarter to a third faster when they are asked for early; from memory, where the
// processor asks early by itself, as much slower, and a twentieth faster when they are asked for just before (Zen 4,
// docs/lab-notes.md). The size is what the system says; processors that are shared by virtual machines say more.
size_t fetched_ahead(size_t weight_bytes) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
    size_t kilobytes = 0;
    file >> kilobytes;
    return weight_bytes <= kilobytes << 10 ? kAhead : kLittleAhead;
}

}  // namespace

size_t in_range(const std::string& what, int64_t value, int64_t least) {
    if (value < least || value > kMost) throw Error(what + " cannot be " + std::to_string(value));
    return static_cast<size_t>(value);
}

Linear Linears::linear(const std::string& name, size_t rows, size_t columns) {
    if (tensor(name + ".weight").rows() != rows)
        throw Error(name + ".weight does not have " + std::to_string(rows) + " rows");
    return cut(name, 0, rows, columns);
}

Linear Linears::cut(const std::string& name, size_t first, size_t rows, size_t columns) {
    const Tensor& weights = tensor(name + ".weight");
    if (weights.columns() != columns)
        throw Error(name + ".weight does not have " + std::to_string(columns) + " columns");
    const float scale = file_.find(name + ".scale") ? vector(name + ".scale", 1)[0] : 1;
    packings_.push_back(plan(weights, first, rows, scale));  // it has these rows, and so has the bias
    Linear linear;
    if (file_.find(name + ".bias")) {
        const auto biases = vector(name + ".bias", weights.rows());
        const auto begin = biases.begin() + static_cast<std::ptrdiff_t>(first);
        linear.bias.assign(begin, begin + static_cast<std::ptrdiff_t>(rows));
        linear.bias.resize(round_up(rows));
    }
    linear.matrix = packings_.back().matrix;
    linear.packing = packings_.size() - 1;
    return linear;
}

std::vector<float> Linears::vector(const std::string& name, size_t n, bool needed) {
    if (!needed && !file_.find(name)) return {};
    const Tensor& entries = tensor(name);
    if (entries.columns() != n || entries.rows() != 1)
        throw Error(name + " does not have " + std::to_string(n) + " entries");
    std::vector<float> values(round_up(n));
    read_row(entries, 0, values.data());
    return values;
}

const Tensor& Linears::tensor(const std::string& name) {
    const Tensor& found = file_.tensor(name);
    named_.insert(name);
    return found;
}

void Linears::refuse_others() const {
    for (const auto& [name, _] : file_.tensors()) {
        if (!named_.contains(name)) throw Error("the tensor " + name + " has no place in this model");
    }
}

Buffer Linears::pack(ThreadPool& pool, bool biased) {
    std::vector<size_t> places;
    size_t bytes = 0;
    for (const Packing& packing : packings_) places.push_back(bytes), bytes += packing.bytes();
    Buffer weights(bytes);
    std::atomic<size_t> next{0};
    std::atomic<bool> full{false};  // a job must not throw
    pool.run([&](const Worker&) {
        // A tensor is forgotten when it is packed, and the head, the largest as a rule, comes first: the file and what
        // is packed are never in memory together.
        try {
            for (size_t i; (i = next.fetch_add(1)) < packings_.size();) {
                Packing& packing = packings_[packings_.size() - 1 - i];
                filament::pack(packing, weights.data() + places[packings_.size() - 1 - i], biased);
                file_.forget(*packing.tensor);
            }
        } catch (const std::bad_alloc&) {
            full = true;
        }
    });
    if (full) throw std::bad_alloc();
    ahead_ = fetched_ahead(bytes);
    return weights;
}

void Linears::settle(Linear& linear) const {
    linear.matrix = packings_[linear.packing].matrix;
    linear.matrix.ahead = ahead_;
    linear.matrix.bias = linear.bias.empty() ? nullptr : linear.bias.data();
}

}  // namespace filament
