// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title Settlement currency of a community: minted against money paid in outside, burnt when it is paid out.
/// @notice Nine decimals, so that one base unit is one nano-currency. A settlement may be deployed on any other ERC-20
/// with at least nine decimals instead.
contract EnergyToken is ERC20, ERC20Permit, AccessControl {
    /// @notice Who may mint.
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");

    /// @notice `admin` hands out the roles and starts with none but its own.
    constructor(address admin) ERC20("Energy Token", "ENERGY") ERC20Permit("Energy Token") {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
    }

    /// @notice Creates `amount` base units for `to`.
    function mint(address to, uint256 amount) external onlyRole(MINTER_ROLE) {
        _mint(to, amount);
    }

    /// @notice Destroys `amount` base units of the caller's.
    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }

    /// @notice Decimals of an amount.
    function decimals() public pure override returns (uint8) {
        return 9;
    }
}
