#include "tuner/workload.hpp"

namespace crossover {

std::string to_string(const CellKey& cell) {
    std::string text = "n=" + std::to_string(cell.world_size);
    for (std::string_view word : {to_string(cell.pattern), to_string(cell.dtype), to_string(cell.quant)})
        text.append(" ").append(word);
    return text;
}

std::string to_string(const Point& point) {
    return to_string(point.cell) + " " + std::to_string(point.num_tokens) + "x" + std::to_string(point.hidden_dim);
}

} // namespace crossover
