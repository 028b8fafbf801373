// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

/// @title Votes of a community's members, as a token.
/// @notice All votes are created once, for one holder who hands them out. Nobody can create more: with a minter, who
/// holds that role could outvote everybody, and the quorum, a share of all votes, could be moved. Votes count once
/// they are delegated, be it to oneself. Its clock is the time of blocks, because the pace of blocks is no promise.
contract GovernanceToken is ERC20, ERC20Permit, ERC20Votes {
    /// @notice There is nothing to vote with.
    error NoVotes();

    /// @notice Creates `supply` votes, with eighteen decimals, for `holder`.
    constructor(address holder, uint256 supply)
        ERC20("Energy Governance Token", "VOTE")
        ERC20Permit("Energy Governance Token")
    {
        if (supply == 0) revert NoVotes();
        _mint(holder, supply);
    }

    /// @notice UTC seconds.
    function clock() public view override returns (uint48) {
        return uint48(block.timestamp);
    }

    /// @notice What `clock` counts, as ERC-6372 spells it.
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    /// @notice The number that the next permit or delegation signed by `owner` carries.
    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    function _update(address from, address to, uint256 amount) internal override(ERC20, ERC20Votes) {
        super._update(from, to, amount);
    }
}
