#include "engine/error.h"

G_DEFINE_QUARK(ferry - engine - error - quark, ferry_engine_error)
