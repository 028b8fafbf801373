// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {DemandBook} from "../src/challenges/demands/DemandBook.sol";
import {PromiseDemands} from "../src/challenges/demands/PromiseDemands.sol";
import {DemandCast} from "./DemandCast.sol";

/// @dev What demands for a promise are refused with.
abstract contract PromiseCast is DemandCast {
    bytes internal wrongEvidence = abi.encodeWithSignature("WrongEvidence()");
    bytes internal wrongNeighbours = abi.encodeWithSignature("WrongNeighbours()");
    bytes internal notInTree = abi.encodeWithSignature("NotInTree()");
    bytes internal nothingToAsk = abi.encodeWithSelector(DemandBook.NothingToAsk.selector);
    bytes internal notCovered = abi.encodeWithSelector(PromiseDemands.NotCovered.selector);
}
