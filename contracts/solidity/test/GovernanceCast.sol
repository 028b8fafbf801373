// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Vm} from "./Vm.sol";

/// @dev What only the tests of this part need of the test runner.
interface MoreVm {
    function deal(address account, uint256 balanceWei) external;
    function expectEmit() external;
}

/// @dev The cast without a settlement: Ada, Bo, Cy and Di, who have keys, and what a test claims.
abstract contract GovernanceCast {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    MoreVm internal constant MORE_VM = MoreVm(address(VM));

    /// @dev When a test begins, as foundry.toml says. Not a variable: the compiler reads the clock anew at each use.
    uint256 internal constant START = 1_800_000_000;

    address internal constant ADA = address(0xADA);
    address internal constant BO = address(0xB0);
    address internal constant CY = address(0xC7);
    address internal constant DI = address(0xD1);

    function assertEq(uint256 one, uint256 other) internal pure {
        require(one == other, "numbers differ");
    }

    function assertEq(address one, address other) internal pure {
        require(one == other, "addresses differ");
    }

    function assertEq(bytes32 one, bytes32 other) internal pure {
        require(one == other, "hashes differ");
    }

    function assertEq(string memory one, string memory other) internal pure {
        require(keccak256(bytes(one)) == keccak256(bytes(other)), "texts differ");
    }

    function assertTrue(bool claim) internal pure {
        require(claim, "claim does not hold");
    }

    function bound(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }
}
