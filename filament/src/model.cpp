#include "model.hpp"

#include <algorithm>

#include "loader.hpp"
#include "pack.hpp"

namespace filament {

Model::Model(const std::string& path, size_t threads, const Kernels& kernels)
    : file_(std::make_unique<File>(path)), kernels_(kernels), pool_(std::make_unique<ThreadPool>(threads)) {
    try {
        Loader(*this).load();
    } catch (const Error& e) {
        throw Error(path + ": " + e.what());
    }
}

void Model::embed(size_t token, float* out) const {
    read_row(*embedding, token, out);
    if (embedding_scale != 1) std::for_each(out, out + width, [&](float& x) { x *= embedding_scale; });
}

Cost Model::cost(size_t context) const {
    Cost total{weight_bytes, 2 * logits.matrix.rows * logits.matrix.columns};
    const auto add = [&](Branch* branch) {
        if (!branch) return;
        for (const Linear* linear : branch->linears())
            total.operations += 2 * linear->matrix.rows * linear->matrix.columns;
    };
    for (const Layer& layer : layers) {
        add(layer.mixer.branch.get()), add(layer.feed_forward.branch.get());
        if (!layer.mixer.branch) continue;
        const Cost mixing = layer.mixer.branch->cost(context);
        total.bytes += mixing.bytes, total.operations += mixing.operations;
    }
    return total;
}

size_t Model::widest() const {
    size_t most = width;
    for (const Layer& layer : layers) {
        for (Branch* branch : {static_cast<Branch*>(layer.mixer.branch.get()), layer.feed_forward.branch.get()}) {
            if (!branch) continue;
            for (const Linear* linear : branch->linears()) most = std::max(most, linear->matrix.columns);
        }
    }
    return round_up(most);
}

}  // namespace filament
