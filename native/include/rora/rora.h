#ifndef RORA_RORA_H
#define RORA_RORA_H

/** All of rora's C API. */
#include "rora/activation.h"
#include "rora/adapter.h"
#include "rora/base.h"
#include "rora/batch.h"
#include "rora/context.h"
#include "rora/layers.h"
#include "rora/linear.h"
#include "rora/loss.h"
#include "rora/measure.h"
#include "rora/optimizer.h"
#include "rora/weight.h"

#endif
