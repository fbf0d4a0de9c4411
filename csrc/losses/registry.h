// Every loss, one line each: X(stem, functor). The engines instantiate themselves for these.
#pragma once

#include "losses/info_nce.h"

#define FASTLOSS_PAIRWISE_LOSSES(X) X(info_nce, InfoNce)
